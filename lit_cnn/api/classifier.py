"""``load``: a trained model that classifies images."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry
from torch import Tensor

from lit_cnn import plugins
from lit_cnn.api.images import GivenImages, ImageLike, as_list
from lit_cnn.checkpoint.find import find_checkpoint
from lit_cnn.checkpoint.record import CheckpointRecord, read_record
from lit_cnn.cli.checkpoint_argument import check_plugins, predict_data
from lit_cnn.cli.trained_task import trained_task
from lit_cnn.errors import UnreadableImageError, UserError
from lit_cnn.results.calibration import with_temperature
from lit_cnn.results.multi_label import THRESHOLD
from lit_cnn.utils.files import expand_home
from lit_cnn.utils.lightning_internals import silence_lightning

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    Attributes:
        name: class of the largest probability.
        probability: of that class.
        probabilities: of every class by its name, in the order of the logits, after the checkpoint's temperature. Of a
            model with any number of labels an image they do not sum to 1.
        labels: of such a model, those above one half, most probable first; of others, ``name`` alone.
    """

    name: str
    probability: float
    probabilities: dict[str, float]
    labels: list[str] = field(default_factory=list)


class Classifier:
    """A trained model with its class names and preprocessing.

    Args:
        record: of the checkpoint.
        accelerator: ``auto``, ``cpu``, ``gpu`` …, as ``Trainer(accelerator=…)``.
        devices: 1, ``auto`` (the same), or ``[2]`` for GPU number 2: always one device.

    Attributes:
        class_names: in the order of the logits.
        task: the LightningModule, in evaluation mode.
    """

    def __init__(self, record: CheckpointRecord, accelerator: str = "auto", devices: Any = 1) -> None:
        self._record = record
        self._accelerator, self._devices = accelerator, _one_device(accelerator, devices)
        self.class_names = list(record.class_names)
        self.task = trained_task(record, "lit_cnn.load")

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
                been saved as PNG, and those for a model of bands as NumPy files. ``~`` is the home folder.
            batch_size: images at a time; ``None``: as in the checkpoint's evaluation.

        Returns:
            One prediction an image, in the order given; the files of a folder are sorted by name.

        Raises:
            UserError: there is no such file, it cannot be read, an array is of another shape or dtype, a PIL image of
                a mode without a known range (I, F), or batch_size is no whole number of at least 1.
        """
        if batch_size is not None:
            batch_size = _whole_number(batch_size)
        given = as_list(images)
        if not given:
            return []
        settings = predict_data(self._record, [])["init_args"]
        settings.pop("paths")
        data = GivenImages(given, **{**settings, "on_bad_image": "error"})
        stored = self._record.config["data"]["init_args"]
        data.batch_size, data.eval_batch_size = stored["batch_size"], batch_size or stored.get("eval_batch_size")
        try:
            outputs: Any = self._trainer.predict(self.task, datamodule=data)
        except UnreadableImageError as error:  # its advice is for the command line
            raise UserError(f"cannot read {error.image}: {error.reason}") from error
        probs = torch.cat([output["probs"] for output in outputs if output is not None]).cpu()
        order = torch.cat([output["index"] for output in outputs if output is not None]).cpu().argsort()
        temperature = self._record.calibration.get("temperature", 1.0)
        probs = torch.from_numpy(with_temperature(probs.numpy(), temperature))
        return [self._prediction(row) for row in probs[order]]

    def _prediction(self, probs: Tensor) -> Prediction:
        best = int(probs.argmax())
        by_name = dict(zip(self.class_names, probs.tolist(), strict=True))
        labels = [self.class_names[best]]
        if self._record.preprocessing.get("multilabel"):
            labels = [name for name, prob in sorted(by_name.items(), key=lambda pair: -pair[1]) if prob > THRESHOLD]
        return Prediction(self.class_names[best], float(probs[best]), by_name, labels)


def _whole_number(batch_size: Any) -> int:
    try:
        number = 0 if isinstance(batch_size, bool) else operator.index(batch_size)
    except TypeError:
        number = 0
    if number < 1:
        raise UserError(f"batch_size is {batch_size!r}: give a whole number of at least 1, or None")
    return number


def _one_device(accelerator: Any, devices: Any) -> int | list[int]:
    """Check that the machine has the device: ``Trainer(devices=…)`` for it.

    Raises:
        UserError: the accelerator is unknown or missing, or it is not one device.
    """
    known = ("auto", "gpu", *AcceleratorRegistry)
    if not isinstance(accelerator, str) or accelerator not in known:
        raise UserError(f"unknown accelerator {accelerator!r}; choose {', '.join(known)}")
    gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if accelerator in ("auto", "cpu", "gpu"):
        available = gpus > 0 or accelerator != "gpu"
    else:
        available = AcceleratorRegistry[accelerator]["accelerator"].is_available()
    if not available:
        raise UserError(
            f"this machine has no accelerator {accelerator!r} that torch can use: leave it out, or give 'cpu'"
        )
    if devices in ("auto", "1") or (isinstance(devices, int) and not isinstance(devices, bool) and devices == 1):
        return 1
    number = devices[0] if isinstance(devices, (list, tuple)) and len(devices) == 1 else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise UserError(f"devices is {devices!r}: a loaded model uses one device: give 1, or [2] for GPU number 2")
    if accelerator == "cpu" or (accelerator == "auto" and not gpus):
        if number > 0:
            raise UserError(f"devices is {devices!r}: the CPU is one device, give 1")
        return 1
    if accelerator in ("auto", "gpu", "cuda") and number >= gpus:
        raise UserError(
            f"devices is {devices!r}: this machine has {gpus} GPU{'s' if gpus > 1 else ''}, numbered from 0"
        )
    return [number]


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
        ckpt_path: a checkpoint, a run folder, a run's name, or ``best`` / ``last`` of the newest run.
        accelerator: ``auto``, ``cpu``, ``gpu`` …, as ``Trainer(accelerator=…)``.
        devices: 1, ``auto`` (the same), or ``[2]`` for GPU number 2: always one device.
        allow_import: packages that define the model; those imported already need not be named.
        root: folder that holds ``lightning_logs``.

    Raises:
        UserError: there is no such checkpoint, it is damaged, or it needs code that is neither allowed nor imported;
            or the machine has no such device.
    """
    silence_lightning()
    allowed = [allow_import] if isinstance(allow_import, str) else list(allow_import)
    plugins.import_plugins(allowed)
    record = read_record(find_checkpoint(os.fspath(ckpt_path), Path(expand_home(root)), "best"))
    check_plugins(record, allowed, python=True)
    return Classifier(record, accelerator, devices)
