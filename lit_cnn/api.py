"""The Python API: load a checkpoint and classify images, or run what ``lit-cnn fit`` runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image
from torch import Tensor

from lit_cnn import plugins, run_folder
from lit_cnn.checkpoint.record import CheckpointRecord, load_verified, read_record
from lit_cnn.cli.argv import Arguments, parse
from lit_cnn.cli.checkpoint_argument import check_plugins, predict_data
from lit_cnn.cli.commands.run import run
from lit_cnn.data import Images
from lit_cnn.data.decoding.formats import EncodedImage, ImageFile
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.split import Split
from lit_cnn.errors import UserError
from lit_cnn.tasks.classification import ImageClassifier

PathLike = str | Path
ImageLike = str | Path | Image.Image | np.ndarray
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    Attributes:
        name: class of the largest probability.
        probability: of that class.
        probabilities: of every class by its name, in the order of the logits.
    """

    name: str
    probability: float
    probabilities: dict[str, float]


class Classifier:
    """A trained model with its class names and preprocessing.

    Args:
        record: of the checkpoint.
        accelerator: as ``Trainer(accelerator=…)``.
        devices: as ``Trainer(devices=…)``; one device.

    Attributes:
        class_names: in the order of the logits.
        task: the LightningModule, in evaluation mode.
    """

    def __init__(self, record: CheckpointRecord, accelerator: str = "auto", devices: Any = 1) -> None:
        self._record = record
        self._accelerator, self._devices = accelerator, devices
        self.class_names = list(record.class_names)
        settings = {k: v for k, v in record.config["model"].items() if v is not None}
        settings |= {"num_classes": len(self.class_names), "in_channels": record.preprocessing["channels"]}
        self.task = ImageClassifier(**{**settings, "weights": None, "compile": False})
        self.task.load_state_dict(load_verified(record.path)["state_dict"])
        self.task.eval()

    def __repr__(self) -> str:
        return f"Classifier({str(self._record.path)!r}, {len(self.class_names)} classes)"

    @cached_property
    def _trainer(self) -> Trainer:
        trainer = self._record.config["trainer"]
        return Trainer(
            accelerator=self._accelerator,
            devices=self._devices,
            precision=trainer.get("precision"),
            deterministic=trainer.get("deterministic"),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def predict(self, images: ImageLike | Sequence[ImageLike], batch_size: int | None = None) -> list[Prediction]:
        """Classify images exactly as ``lit-cnn predict`` does.

        Args:
            images: image files, folders (searched for image files, subfolders too), PIL images, or arrays: uint8
                (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA. PIL images and arrays are classified as if they had
                been saved as PNG.
            batch_size: images at a time; ``None``: as in the checkpoint's evaluation.

        Returns:
            One prediction an image, in the order given; the files of a folder are sorted by name.

        Raises:
            UserError: there is no such file, it cannot be read, or an array is of another shape or dtype.
        """
        given = [images] if isinstance(images, (str, Path, Image.Image, np.ndarray)) else list(images)
        if not given:
            return []
        settings = predict_data(self._record, [])["init_args"]
        settings.pop("paths")
        data = _GivenImages(given, **{**settings, "on_bad_image": "error"})
        stored = self._record.config["data"]["init_args"]
        data.batch_size, data.eval_batch_size = stored["batch_size"], batch_size or stored.get("eval_batch_size")
        outputs: Any = self._trainer.predict(self.task, datamodule=data)
        probs = torch.cat([output["probs"] for output in outputs if output is not None]).cpu()
        order = torch.cat([output["index"] for output in outputs if output is not None]).cpu().argsort()
        return [self._prediction(row) for row in probs[order]]

    def _prediction(self, probs: Tensor) -> Prediction:
        best = int(probs.argmax())
        by_name = dict(zip(self.class_names, probs.tolist(), strict=True))
        return Prediction(self.class_names[best], float(probs[best]), by_name)


class _GivenImages(Images, listed=False):
    """Files, PIL images and arrays as a data set without labels."""

    def __init__(self, images: Sequence[ImageLike], **kwargs: Any) -> None:
        files: list[ImageFile] = []
        for number, image in enumerate(images):
            if isinstance(image, (str, Path)):
                files += Images(paths=[str(image)]).all_paths()[1]
            else:
                files.append(_encoded(image, f"image {number}"))
        super().__init__(paths=[str(file) for file in files], **kwargs)
        self._files = files

    @cached_property
    def _found(self) -> list[str]:
        return self.paths  # found by the constructor

    def fingerprint(self) -> str:
        return ""  # of data to train on; here there is none

    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        targets = torch.full((len(self._files),), -1, dtype=torch.int64)
        source = _GivenSource(Path(), self.paths, targets, self._geometry(), self.augment, self.seed)
        source.files = self._files
        return {"test": Split(source, torch.arange(len(targets)))}


class _GivenSource(FileSource):
    files: list[ImageFile]

    def image_file(self, index: int) -> ImageFile:
        return self.files[index]


def _encoded(image: Image.Image | np.ndarray, name: str) -> EncodedImage:
    """The image as the bytes of a lossless file, so that it takes the same way as any other file."""
    if isinstance(image, np.ndarray):
        shape = image.shape
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and shape[2] not in (1, 3, 4)):
            raise UserError(
                f"{name} is a {image.dtype} array of shape {shape}: give uint8 (H, W) or (H, W, C) with C of 1, 3 or 4"
            )
        image = Image.fromarray(image[:, :, 0] if image.ndim == 3 and shape[2] == 1 else image)
    elif not isinstance(image, Image.Image):
        raise UserError(f"{name} is a {type(image).__name__}: give a path, a PIL image or a NumPy array")
    content = BytesIO()
    image.save(content, "PNG" if image.mode in PNG_MODES else "TIFF", exif=image.getexif())
    return EncodedImage(name, content.getvalue())


def load(
    ckpt_path: PathLike = "best",
    *,
    accelerator: str = "auto",
    devices: Any = 1,
    allow_import: str | Sequence[str] = (),
    root: PathLike = ".",
) -> Classifier:
    """Load a trained model.

    Args:
        ckpt_path: a checkpoint, a run folder, or ``best`` / ``last`` of the newest run.
        accelerator: as ``Trainer(accelerator=…)``.
        devices: as ``Trainer(devices=…)``; one device.
        allow_import: packages that define the model, as ``--allow_import`` on the command line.
        root: folder that holds ``lightning_logs``.

    Raises:
        UserError: there is no such checkpoint, or it is damaged, or it needs code that is not allowed.
    """
    allowed = [allow_import] if isinstance(allow_import, str) else list(allow_import)
    plugins.import_plugins(allowed)
    record = read_record(run_folder.find_checkpoint(str(ckpt_path), Path(root), "best"))
    check_plugins(record, Arguments("predict", allow_import=allowed))
    return Classifier(record, accelerator, devices)


@dataclass(frozen=True)
class TrainedRun:
    """A finished training run.

    Attributes:
        folder: the run folder; ``None`` after ``fast_dev_run``.
        best: checkpoint of the best epoch, if there is one.
        score: of that epoch, by the monitored metric (``val/acc``).
    """

    folder: Path | None
    best: Path | None
    score: float | None

    def load(self, **kwargs: Any) -> Classifier:
        """The best checkpoint's model; arguments as of :func:`load`.

        Raises:
            UserError: the run has no checkpoint.
        """
        if self.folder is None:
            raise UserError("the run has left no checkpoint")
        return load(self.best or self.folder, **kwargs)


def fit(
    config: PathLike | Mapping[str, Any] | None = None,
    *,
    resume: PathLike | None = None,
    allow_import: str | Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    **overrides: Any,
) -> TrainedRun:
    """Train as ``lit-cnn fit`` does, with the same run folder and checkpoints.

    Args:
        config: a YAML file, the name of a shipped config, or nested settings.
        resume: a checkpoint or run folder to resume; ``""`` or ``last``: the newest run.
        allow_import: packages of your own that the settings need.
        callbacks: further callbacks of the trainer.
        overrides: settings by the names of the flags (``epochs=3, batch_size=64, data="Digits"``), with dots
            (``**{"model.lr_min": 0.001}``), or nested (``model={"lr": 0.1}``).

    Raises:
        UserError: for every mistake in the settings.
    """
    words = ["fit"]
    settings: dict[str, Any] = {}
    if isinstance(config, Mapping):
        settings |= _flags(config)
    elif config is not None:
        words.append(f"--config={config}")
    settings |= _flags(overrides)
    words += [f"--{name}={_text(value)}" for name, value in settings.items()]
    allowed = [allow_import] if isinstance(allow_import, str) else allow_import
    words += [f"--allow_import={name}" for name in allowed]
    if resume is not None:
        words.append("--resume" if str(resume) in ("", "last") else f"--resume={resume}")
    cli = run(parse(words), callbacks=callbacks)
    best: Any = cli.trainer.checkpoint_callback
    path = getattr(best, "best_model_path", "")
    score = getattr(best, "best_model_score", None)
    folder = cli.run.folder.resolve() if cli.run.folder is not None else None
    return TrainedRun(folder, Path(path) if path else None, float(score) if score is not None else None)


def _flags(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by flag; the class of a part first, since its arguments depend on it."""
    flat: dict[str, Any] = {}
    if "class_path" in settings:
        flat[prefix] = settings["class_path"]
    for key, value in settings.items():
        name = f"{prefix}.{key}" if prefix else key
        if key == "class_path":
            continue
        if key == "init_args":
            flat |= _flags(value, prefix)
        elif isinstance(value, Mapping) and name in ("trainer", "model", "data", "data.augment", "checkpoint"):
            flat |= _flags(value, name)
        else:
            flat[name] = value
    return flat


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
