"""Evaluation report: predictions.csv, confusion matrices, metrics.json, and one table on the terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.text import Text

from lit_cnn.callbacks.gallery import Answers, make_gallery
from lit_cnn.callbacks.gathered import gather_outputs, gather_skipped
from lit_cnn.callbacks.ood import HeadTap, OODProjector, doubt_of
from lit_cnn.callbacks.validation_report import SHOWN, WORST, write_answers
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.formats import open_upright
from lit_cnn.data.images import Images
from lit_cnn.distributed.fsdp import ShardedStrategy
from lit_cnn.errors import UserError
from lit_cnn.results import bad_images
from lit_cnn.results.calibration import Calibration, with_temperature
from lit_cnn.results.confusion import confusion_counts
from lit_cnn.results.evaluation import evaluate
from lit_cnn.results.gallery import ARCHIVE, worst, write_gallery
from lit_cnn.results.labelled_images import FOLDER, save_labelled_images
from lit_cnn.results.metrics_json import PER_CLASS, write_confusions, write_metrics
from lit_cnn.results.multi_label import (
    label_predictions_table,
    label_scores,
    label_table,
    write_label_metrics,
    write_label_predictions,
)
from lit_cnn.results.ood import OODDetector, ood_scores
from lit_cnn.results.prediction_columns import MOST_COLUMNS
from lit_cnn.results.prediction_files import STANDARD_OUTPUT, write_output
from lit_cnn.results.predictions import Predictions, shown_classes, write_predictions
from lit_cnn.results.reliability import RELIABILITY, write_reliability
from lit_cnn.results.tables import metrics_table, predictions_table, sentences
from lit_cnn.tasks.base import BaseTask, as_task
from lit_cnn.utils.allocator import trim
from lit_cnn.utils.console import console, show
from lit_cnn.utils.datamodule import find_datamodule

FILES: tuple[str, ...] = (
    "predictions.csv",
    "confusion_matrix.csv",
    "confusion_matrix.png",
    "confusion_matrix_normalized.png",
)
FILES += ("class_indices.json", "metrics.json", PER_CLASS, RELIABILITY, bad_images.NAME, ARCHIVE, WORST)
MOST_CLASSES = 1000  # of which all probabilities are kept, for AUROC and calibration
TRIM_EVERY = 20  # batches: what is kept of each lies between freed blocks, so that memory would grow with the files
SPLITS = {"test": "test", "validate": "val", "predict": "predict"}  # by the trainer's function


class _Known(NamedTuple):
    """What is known of an evaluation when its report is made."""

    out_dir: Path
    split: str
    files: list[str]
    names: list[str]
    scalars: dict[str, float]
    skipped: int
    found: Predictions
    screen: Console


def _readable(
    found: Predictions, name: Callable[[int], str], skipped: Mapping[str, str]
) -> tuple[Predictions, list[str]]:
    """Predictions and names of the images that could be read.

    Raises:
        UserError: none could.
    """
    files = [name(i) for i in found["index"].tolist()]
    if not skipped or not (left_out := {i for i, file in enumerate(files) if file in skipped}):
        return found, files
    if len(left_out) == len(files):
        first = next(iter(skipped.items()))
        raise UserError(f"none of the {len(files):,} images can be read: {first[0]} ({first[1]}), ...")
    kept = [i for i in range(len(files)) if i not in left_out]
    return {key: value[kept] for key, value in found.items()}, [files[i] for i in kept]


def _tell_unlike(known: _Known) -> None:
    """How many images are unlike those that the network was validated on."""
    if "ood" in known.found and (number := int(known.found["ood"].sum())):
        share = f"{number:,} of {len(known.files):,} images {'is' if number == 1 else 'are'}"
        line = f"{share} unlike the validation images (column ood; 5% of those would be)"
        line += "" if (known.found["target"] >= 0).all() else ": maybe none of these classes"
        show(Text(line), known.screen, highlight=False)


def _report_labels(known: _Known) -> None:
    """Of images with any number of labels."""
    found, names, images = known.found, known.names, len(known.files)
    write_label_predictions(known.out_dir / "predictions.csv", known.files, names, found)
    labelled = found["target"].min(axis=1, initial=0) >= 0
    if known.split == "predict":
        show(label_predictions_table(known.files, names, found, known.skipped), known.screen, highlight=False)
        if not labelled.any():
            return
    scores = label_scores(found["target"][labelled], found["probs"][labelled])
    write_label_metrics(known.out_dir, names, scores, known.scalars, images, known.skipped)
    show(label_table(known.split, names, scores, images, known.skipped), known.screen, highlight=False)


def _write_pictures(known: _Known, data: ImageDataModule, module: LightningModule | None) -> None:
    """Write pictures.zip and worst.jpg; of a predict run without labels neither.

    Args:
        known: the evaluation.
        data: its images.
        module: explains the worst mistakes; None: its weights are sharded.
    """
    found = known.found
    if not (found["target"] >= 0).any():
        return
    answers = Answers(found["index"], found["target"], found["label"][:, 0], found["prob"][:, 0])
    task = module if isinstance(module, BaseTask) and getattr(module, "exported", None) is None else None
    write_gallery(known.out_dir / ARCHIVE, make_gallery(data, known.split, answers, task))
    write_answers(known.out_dir / WORST, data, known.split, answers, worst(*answers[1:], SHOWN))


class EvaluationReport(Callback):
    """Write the results of a test, validate or predict run to ``out_dir`` and print them as one table on rank zero.

    The module is a :class:`~lit_cnn.tasks.base.Task`, whose steps return an
    :class:`~lit_cnn.tasks.base.EvaluationOutput`, or None on a rank that has run out of images. Names of classes and
    samples, and the images that could not be read, come from the data module.

    In ``out_dir``: predictions.csv (one line an image, by index), and unless it is a predict run without labels,
    confusion_matrix.csv, confusion_matrix.png, confusion_matrix_normalized.png, class_indices.json, metrics.json,
    per_class.csv, reliability.png, pictures.zip and worst.jpg; bad_images.csv if any were skipped. If one of these is
    already there, all go to a new folder in it, ``test_2`` and so on.

    Args:
        out_dir: Folder for the files; made if need be. May be set until the run ends; only rank zero reads it.
        top: Number of most probable classes that are kept of each image.
        calibration: Temperature of the probabilities, and threshold of the sets of classes; may be set until the run
            starts.

    Attributes:
        ood: Tells images that are unlike the validation images; may be set until the run starts.
        output: A file for the predictions besides predictions.csv, or ``-``, see
            :func:`~lit_cnn.results.prediction_files.write_output`; may be set until the run ends.
        stream: What ``-`` is; by default standard output.
        save_images: Whether the images are written with their classes on them, to ``images`` in ``out_dir``.
    """

    def __init__(self, out_dir: str | os.PathLike[str], top: int = 5, calibration: Calibration | None = None) -> None:
        super().__init__()
        self.calibration = calibration or Calibration()
        self.out_dir = out_dir
        self.top = top
        self.output: str | None = None
        self.stream: TextIO | None = None
        self.save_images = False
        self.ood: OODDetector | None = None
        self._batches: list[dict[str, torch.Tensor]] = []
        self._num_classes = 0
        self._tap = HeadTap()
        self._project: OODProjector | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the predictions of an earlier run, which are left over if it failed."""
        self._batches = []
        if self.ood is not None:
            self._project = OODProjector(self.ood)
            self._tap.start(trainer, pl_module)

    on_validation_start = on_predict_start = on_test_start

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's most probable classes, but not of validation during training."""
        if trainer.state.fn != "fit":
            self._keep(trainer, outputs)
            if batch_idx % TRIM_EVERY == TRIM_EVERY - 1:
                trim()

    on_validation_batch_end = on_predict_batch_end = on_test_batch_end

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no hook behind."""
        self._tap.stop()

    # The reports are made here and not at the epoch's end: there, callbacks come before the module's own hook.
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and print the report."""
        self._report(trainer, pl_module, as_task(pl_module).test_confusion)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and print the report, but not of validation during training."""
        if trainer.state.fn == "validate":
            self._report(trainer, pl_module, None)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions and print the first of them."""
        self._report(trainer, pl_module, None)

    def _keep(self, trainer: Trainer, outputs: Mapping[str, torch.Tensor] | None) -> None:
        if outputs is None:
            return
        probs = outputs["probs"].detach().float()
        self._num_classes = probs.shape[1]
        prob, label = probs.topk(min(self.top, self._num_classes), dim=1)
        # Left on the device: copying every batch would make it wait for the step.
        kept = {"index": outputs["index"], "target": outputs["target"], "prob": prob, "label": label}
        features = self._tap.take()
        if features is not None and self._project is not None:
            kept |= {"coordinates": self._project(features), "doubt": doubt_of(probs)}
        if outputs["target"].ndim == 2:  # any number of labels an image
            self._batches.append({"index": outputs["index"], "target": outputs["target"], "probs": probs})
            return
        if self._num_classes <= (MOST_COLUMNS if trainer.state.fn == "predict" else MOST_CLASSES):
            kept["probs"] = probs
        elif self.calibration.temperature != 1:
            logs = probs.clamp_min(torch.finfo(torch.float32).tiny).log() / self.calibration.temperature
            kept["prob"] = logs.softmax(1).gather(1, label)
        self._batches.append(kept)

    def _report(self, trainer: Trainer, module: LightningModule, confusion: torch.Tensor | None) -> None:
        scalars = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._tap.stop()
        found = gather_outputs(trainer, self._batches)
        self._batches = []
        if not found:
            raise UserError("there were no images to evaluate")
        stage = str(trainer.state.fn.value) if trainer.state.fn else ""
        split = SPLITS[stage]
        data = find_datamodule(trainer)
        skipped = gather_skipped(trainer, data.skipped(split) if data else {})
        if not trainer.is_global_zero:
            return
        num_classes = self._num_classes  # rank zero has images if any rank has
        names = list(data.class_names) if data else [str(index) for index in range(num_classes)]
        if len(names) != num_classes:
            raise UserError(f"the model has {num_classes} classes but the data {len(names)}: {', '.join(names)}")
        found, files = _readable(found, lambda i: data.sample_name(split, i) if data else str(i), skipped)
        if self.ood is not None and "coordinates" in found:
            found["ood_score"] = ood_scores(self.ood, found.pop("coordinates"), found.pop("doubt"))
            found["ood"] = found["ood_score"] > self.ood.threshold
        out_dir = self._free_dir(stage)
        out_dir.mkdir(parents=True, exist_ok=True)
        if skipped:
            bad_images.write_bad_images(out_dir, skipped)
        screen = getattr(trainer.progress_bar_callback, "console", None) or console()
        known = _Known(out_dir, split, files, names, scalars, len(skipped), found, screen)
        if found["target"].ndim == 2:
            _report_labels(known)
        else:
            self._report_classes(known, confusion)
            if isinstance(data, ImageDataModule):
                _write_pictures(known, data, None if isinstance(trainer.strategy, ShardedStrategy) else module)
        if self.output is not None:
            write_output(self.output, files, names, known.found, self.calibration.threshold, self.stream)
        if self.save_images and isinstance(data, Images):
            texts = [", ".join(each) for each in shown_classes(names, known.found)]
            indices = known.found["index"].tolist()
            save_labelled_images(
                out_dir / FOLDER, files, texts, lambda i: open_upright(data.local_file(indices[i]), data.max_pixels)
            )
        also = f" and {self.output}" if self.output not in (None, STANDARD_OUTPUT) else ""
        show(Text(f"written to {out_dir}{also}"), screen, soft_wrap=True, highlight=False)

    def _report_classes(self, known: _Known, confusion: torch.Tensor | None) -> None:
        """Of images with one label each."""
        found, names, out_dir = known.found, known.names, known.out_dir
        if "probs" in found:
            found["raw"] = found["probs"]
            found["probs"] = with_temperature(found["raw"], self.calibration.temperature)
            found["prob"] = np.take_along_axis(found["probs"], found["label"], 1)
        write_predictions(out_dir / "predictions.csv", known.files, names, found, self.calibration.threshold)
        if known.split == "predict":
            table = predictions_table(known.files, names, found, known.skipped, self.calibration.threshold)
            show(table, known.screen, highlight=False)
            if not (found["target"] >= 0).any():
                _tell_unlike(known)
                return
        counts = confusion_counts(found["target"], found["label"][:, 0], len(names))
        if confusion is not None:
            counts = confusion.cpu().numpy()
        result = evaluate(counts, found, self.calibration)
        write_metrics(out_dir, names, counts, known.scalars, known.skipped, result)
        write_confusions(out_dir, names, counts, known.split)
        if "probs" in found and np.isfinite(found["probs"]).all():
            write_reliability(out_dir, found["target"], found["probs"], found["raw"])
        table = metrics_table(known.split, names, counts, known.scalars, known.skipped, result)
        show(table, known.screen, highlight=False)
        for line in sentences(result, int(counts.sum())):
            show(Text(line), known.screen, highlight=False)
        _tell_unlike(known)

    def _free_dir(self, stage: str) -> Path:
        """Return ``out_dir``, or the first numbered folder in it, where no file would be overwritten."""
        folder, number = Path(self.out_dir), 2
        while any((folder / name).exists() for name in FILES):
            folder, number = Path(self.out_dir) / f"{stage}_{number}", number + 1
        return folder
