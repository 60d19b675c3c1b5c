"""What a server asks of a checkpoint or an exported file: decode an upload, answer a batch, explain an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lit_cnn.callbacks.gallery import training_features, unit_features
from lit_cnn.callbacks.ood import HeadTap, OODProjector, doubt_of, read_detector
from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.decode import read_decoded, read_image
from lit_cnn.data.decoding.formats import EncodedImage
from lit_cnn.data.images import Images
from lit_cnn.data.loading.loader import Batch
from lit_cnn.data.shards.datamodule import Stream
from lit_cnn.errors import UserError
from lit_cnn.export.answers import exported_logits, takes_decoded
from lit_cnn.export.formats import Runner
from lit_cnn.interpret.grad_cam import find_layer, grad_cam
from lit_cnn.results.calibration import with_temperature
from lit_cnn.results.gallery import overlay, to_image, to_jpeg
from lit_cnn.results.ood import ood_scores
from lit_cnn.results.pictures import png_address
from lit_cnn.results.prediction_columns import MOST_COLUMNS
from lit_cnn.results.prediction_files import prediction_rows
from lit_cnn.results.predictions import Predictions
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.tta import average_logits

Answer = dict[str, Any]  # plain types
TOP = 5  # most probable classes, where there are too many to give all; as in predictions.csv
_SIDE = 320  # pixels of a picture in an answer
_LABELS = ("file", "true", "correct")  # of a row of predict, which an upload has not


class Uploads(Images, listed=False):
    """Image files in memory, prepared for the network as those that ``lit-cnn predict`` reads."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "paths": []})

    def decode(self, content: bytes, *, whole: bool = False) -> np.ndarray:
        """Decode a file to uint8 (C, H, W) of the network's size; ``whole``: to (H, W, C) of its own."""
        file = EncodedImage("upload", content)  # its name is the client's, and nobody needs it
        return read_decoded(file, self._geometry()) if whole else read_image(file, self._geometry())

    def blank(self) -> np.ndarray:
        """A black image, uint8 (C, H, W)."""
        return np.zeros(self._geometry().shape, np.uint8)


class ServedModel(Protocol):
    """A model that answers uploads.

    Attributes:
        class_names: in the order of the probabilities.
        multilabel: whether an image has any number of labels.
        uploads: prepares images.
        why_no_heat_map: empty where it explains its answers.
    """

    class_names: list[str]
    multilabel: bool
    uploads: Uploads
    why_no_heat_map: str

    @property
    def why_none_near(self) -> str:
        """Empty where it shows the nearest training pictures."""

    def decode(self, content: bytes) -> np.ndarray:
        """Decode an image file; several threads at once may.

        Raises:
            UserError: it cannot be decoded.
        """

    def answer(self, images: Sequence[np.ndarray]) -> list[Answer]:
        """Answer decoded images together, as ``lit-cnn predict --predictions FILE.jsonl`` does."""

    def explain(self, image: np.ndarray, label: int) -> Answer:
        """The image as the network gets it, and the same with the heat map of a class."""

    def nearest(self, image: np.ndarray) -> list[Answer]:
        """The nearest training pictures: file, class, similarity of the features, picture."""


def answer_rows(
    names: list[str], logits: Tensor, multilabel: bool, calibration: dict[str, Any], scores: Predictions | None = None
) -> list[Answer]:
    """Rows of predictions for logits float32 (N, K).

    Args:
        names: K class names.
        logits: before the temperature.
        multilabel: whether an image has any number of labels.
        calibration: temperature and threshold of the checkpoint.
        scores: ood_score and ood of each image; None where they are not known.
    """
    count, classes = logits.shape
    files, threshold = [""] * count, calibration.get("threshold", 0.0)
    if multilabel:
        probs = logits.sigmoid().cpu().numpy()
        found: Predictions = {"target": np.full(probs.shape, -1), "probs": probs}
    else:
        raw = logits.softmax(1).cpu().numpy()
        probs = with_temperature(raw, calibration.get("temperature", 1.0))
        label = torch.from_numpy(raw).topk(min(TOP, classes), dim=1).indices.numpy()
        found = {"target": np.full(count, -1), "label": label, "prob": np.take_along_axis(probs, label, 1)}
        if classes <= MOST_COLUMNS:
            found["probs"] = probs
        found |= scores or {}
    if not np.isfinite(probs).all():
        raise ArithmeticError("the network gives no numbers for this image")
    rows = prediction_rows(files, names, found, threshold)
    return [{key: value for key, value in row.items() if key not in _LABELS} for row in rows]


class TrainingPictures:
    """Training pictures by what the network's head gets of them, in memory.

    Args:
        data: the data module of the run.
        task: of the run, in evaluation mode.

    Raises:
        UserError: they cannot be read, have any number of labels, or the network has no head.
    """

    def __init__(self, data: ImageDataModule, task: ImageClassifier) -> None:
        if isinstance(data, Stream) or data.multilabel:
            raise UserError("the nearest training pictures are of image files or arrays with one class each")
        found = training_features(data, task, pictures=True)
        if found is None:
            raise UserError("none of the training pictures can be read")
        targets, names = data.splits()["train"].source.targets, data.class_names
        self._found, self._data, self._task = found, data, task
        self._about = {index: (data.sample_name("train", index), names[int(targets[index])]) for index in found.indices}

    def __len__(self) -> int:
        return len(self._about)

    def nearest(self, image: np.ndarray) -> list[Answer]:
        """The nearest ones to an image uint8 (C, H, W), the nearest first."""
        (indices,), (values,) = self._found.nearest(
            unit_features(self._data, self._task, torch.from_numpy(image[None]))
        )
        return [
            {"file": name, "label": label, "similarity": round(value, 6), "picture": png_address(shown, "jpeg")}
            for (name, label), value, shown in (
                (self._about[index], value, self._found.pictures[index])
                for index, value in zip(indices, values, strict=True)
            )
        ]


class ServedCheckpoint:
    """The network of a checkpoint.

    Args:
        record: of the checkpoint.
        task: of the checkpoint, in evaluation mode; it is moved to the trainer's device.
        uploads: prepares images.
        trainer: its device and precision are used; it runs nothing.
    """

    def __init__(self, record: CheckpointRecord, task: ImageClassifier, uploads: Uploads, trainer: Trainer) -> None:
        self.class_names = list(record.class_names)
        self.multilabel = bool(record.preprocessing.get("multilabel"))
        self.uploads, self._calibration, self._precision = uploads, record.calibration, trainer.precision_plugin
        self.task = task.to(trainer.strategy.root_device)
        trainer.precision_plugin.convert_module(task)  # in place
        uploads.trainer = trainer  # converts images to its precision
        self._tap, self._detector = HeadTap(), read_detector(record.ood)
        if self._detector is not None:
            self._project = OODProjector(self._detector)
            self._tap.start(trainer, task)
        self.pictures: TrainingPictures | None = None
        self.layer: str | None = None
        self.why_no_heat_map = ""
        try:
            self.layer = find_layer(self.task.backbone, self.prepare([uploads.blank()]))
        except UserError as error:
            self.why_no_heat_map = str(error)
        except Exception as error:  # whatever a network of the user's raises, it can still answer
            self.why_no_heat_map = f"this network has no heat maps: {type(error).__name__}: {error}"
        self._tap.take()

    def decode(self, content: bytes) -> np.ndarray:
        """Decode to uint8 (C, H, W)."""
        return self.uploads.decode(content)

    def prepare(self, images: Sequence[np.ndarray]) -> Tensor:
        """Images float (N, C, H, W) as the network gets them, of uint8 (C, H, W) each."""
        pixels = torch.from_numpy(np.stack(images)).to(self.task.device)
        unused = torch.zeros(len(images), dtype=torch.int64, device=pixels.device)
        return self.uploads.on_after_batch_transfer(Batch(pixels, unused, unused), 0).image

    def answer(self, images: Sequence[np.ndarray]) -> list[Answer]:
        """Answer images uint8 (C, H, W)."""
        # no inference mode: what it computes could not be explained
        with torch.no_grad(), self._precision.forward_context():
            logits = average_logits(self.task, self.prepare(images), self.task.hparams.get("tta", "none"))
        features, scores = self._tap.take(), None
        if features is not None and self._detector is not None:
            doubt = doubt_of(logits.softmax(1)).cpu().numpy()
            found = ood_scores(self._detector, self._project(features).cpu().numpy(), doubt)
            scores = {"ood_score": found, "ood": found > self._detector.threshold}
        return answer_rows(self.class_names, logits, self.multilabel, self._calibration, scores)

    def explain(self, image: np.ndarray, label: int) -> Answer:
        """Grad-CAM of a class over an image uint8 (C, H, W); without a map where nothing speaks for the class."""
        classes = torch.tensor([label], device=self.task.device)
        heat = grad_cam(self.task.backbone, self.prepare([image]), classes, self.layer)
        self._tap.take()
        picture, found = to_image(image), heat[0].cpu().numpy()
        return {
            "explained": self.class_names[label],
            "picture": _address(picture),
            "heat_map": _address(overlay(picture, found)) if found.any() else None,
        }

    @property
    def why_none_near(self) -> str:
        """Empty where there are training pictures."""
        return "" if self.pictures is not None else "this server has read no training pictures"

    def nearest(self, image: np.ndarray) -> list[Answer]:
        """The nearest training pictures to an image uint8 (C, H, W)."""
        assert self.pictures is not None
        found = self.pictures.nearest(image)
        self._tap.take()
        return found


class ServedFile:
    """An exported file.

    Args:
        record: of the file.
        runner: the file, ready to run.
        uploads: prepares images.
    """

    why_no_heat_map = "an exported file has no heat maps, which need the checkpoint"
    why_none_near = "an exported file does not know the nearest training pictures, which need the checkpoint"

    def __init__(self, record: CheckpointRecord, runner: Runner, uploads: Uploads) -> None:
        self.class_names = list(record.class_names)
        self.multilabel = runner.metadata["task"] == "multilabel"
        self.uploads, self._runner, self._calibration = uploads, runner, record.calibration

    def decode(self, content: bytes) -> np.ndarray:
        """Decode to uint8 (H, W, C), of its own size or of the network's, as the file takes it."""
        if takes_decoded(self._runner):
            return self.uploads.decode(content, whole=True)
        return np.ascontiguousarray(self.uploads.decode(content).transpose(1, 2, 0))

    def answer(self, images: Sequence[np.ndarray]) -> list[Answer]:
        """Answer images uint8 (H, W, C)."""
        logits = exported_logits(self._runner, list(images))
        return answer_rows(self.class_names, logits, self.multilabel, self._calibration)

    def explain(self, image: np.ndarray, label: int) -> Answer:
        """There is no network to explain.

        Raises:
            UserError: always.
        """
        raise UserError(self.why_no_heat_map)

    def nearest(self, image: np.ndarray) -> list[Answer]:
        """There are no features.

        Raises:
            UserError: always.
        """
        raise UserError(self.why_none_near)


def _address(picture: Any) -> str:
    return png_address(to_jpeg(picture, _SIDE), "jpeg")
