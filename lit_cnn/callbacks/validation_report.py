"""What the best epoch predicted for the validation images: val/ in the run folder, and pictures beside results.png."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.callbacks.best_checkpoint import BestCheckpoint
from lit_cnn.callbacks.calibration import CalibrateOnValidation
from lit_cnn.callbacks.gallery import Answers, make_gallery
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.pictures import read_images
from lit_cnn.results.confusion import confusion_counts
from lit_cnn.results.evaluation import evaluate
from lit_cnn.results.gallery import ARCHIVE, captions_of, to_image, worst, write_gallery, write_sheet
from lit_cnn.results.metrics_json import write_confusions, write_metrics
from lit_cnn.results.predictions import Predictions, write_predictions
from lit_cnn.utils.console import say
from lit_cnn.utils.datamodule import find_datamodule
from lit_cnn.utils.files import atomic_write

FOLDER = "val"
OUTPUTS = "outputs.npz"  # of the best epoch so far; a resumed run finds it
VAL_PREDICTIONS, WORST = "val_predictions.jpg", "worst.jpg"
SHOWN = 16


class ValidationReport(Callback):
    """Keep the outputs of the best epoch, and when training ends, write its predictions, scores and pictures.

    In ``val/``: predictions.csv, metrics.json, per_class.csv, class_indices.json, confusion_matrix.csv and .png, and
    pictures.zip; beside it val_predictions.jpg, sixteen images, and worst.jpg, the most confident mistakes. Only with
    one label an image.

    Args:
        run_dir: the run folder.
        validation: has the outputs.
    """

    def __init__(self, run_dir: Path, validation: CalibrateOnValidation) -> None:
        super().__init__()
        self.folder = run_dir / FOLDER
        self._validation = validation

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask to be told of a new best epoch."""
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, BestCheckpoint):
                callback.on_improvement = self.keep

    def keep(self, trainer: Trainer) -> None:
        """Write the outputs of the validation that is the best so far."""
        found = self._validation.outputs
        if not trainer.is_global_zero or not found:
            return
        try:
            self.folder.mkdir(exist_ok=True)
            with atomic_write(self.folder / OUTPUTS, "wb") as file:
                np.savez(file, **cast(Any, found))
        except OSError as error:
            say(f"{self.folder / OUTPUTS} was not written: {error.strerror or error}", error=True)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files."""
        data = find_datamodule(trainer)
        if not trainer.is_global_zero or not isinstance(data, ImageDataModule) or trainer.interrupted:
            return
        try:
            with np.load(self.folder / OUTPUTS) as stored:  # plain arrays: no pickles
                found = dict(stored)
        except (OSError, ValueError, LookupError):  # none was kept, or it is damaged
            return
        if found and found["label"].max() < data.num_classes:
            try:
                self._write(data, found)
                (self.folder / OUTPUTS).unlink()  # its content is in predictions.csv now
            except Exception as error:  # training is done, and its checkpoints are there: they matter more
                say(f"{self.folder} was not written: {error}", error=True)

    def _write(self, data: ImageDataModule, found: Predictions) -> None:
        names, index, target = list(data.class_names), found["index"], found["target"]
        files = [data.sample_name("val", i) for i in index.tolist()]
        write_predictions(self.folder / "predictions.csv", files, names, found)
        counts = confusion_counts(target, found["label"][:, 0], len(names))
        if "probs" in found:
            found["raw"] = found["probs"]
        result = evaluate(counts, found)
        write_metrics(self.folder, names, counts, {}, 0, result)
        write_confusions(self.folder, names, counts, "val", normalized=False)
        answers = Answers(index, target, found["label"][:, 0], found["prob"][:, 0])
        write_gallery(self.folder / ARCHIVE, make_gallery(data, "val", answers))
        evenly = np.linspace(0, len(index) - 1, min(SHOWN, len(index))).round().astype(int)
        write_answers(self.folder.parent / VAL_PREDICTIONS, data, "val", answers, evenly)
        write_answers(self.folder.parent / WORST, data, "val", answers, worst(*answers[1:], SHOWN))


def write_answers(path: Path, data: ImageDataModule, split: str, answers: Answers, rows: np.ndarray) -> None:
    """Write a contact sheet of the images of some rows with what was predicted for them; nothing of no rows."""
    read = list(read_images(data, split, answers.indices[rows].tolist()))
    if not read:
        path.unlink(missing_ok=True)  # of an earlier end of this run
        return
    captions = captions_of(rows.tolist(), data.class_names, *answers[1:])
    write_sheet(path, [to_image(image) for _, image in read], [captions[place] for place, _ in read])
