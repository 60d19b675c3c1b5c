"""Results of a test, validate or predict run of image to image: restored images, scores, pictures, a table."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.text import Text

from lit_cnn.callbacks.evaluation import SPLITS
from lit_cnn.callbacks.gathered import gather_outputs, gather_skipped
from lit_cnn.errors import UserError
from lit_cnn.results import bad_images
from lit_cnn.results.gallery import to_image
from lit_cnn.results.restoration import (
    COLUMNS,
    METRICS,
    SCORES,
    TRIPLES,
    Triple,
    chosen,
    rows_of,
    scores_table,
    to_bytes,
    triple,
    write_scores,
)
from lit_cnn.utils.console import console, show
from lit_cnn.utils.datamodule import datamodule
from lit_cnn.utils.files import atomic_write

PREDICTIONS, IMAGES = "predictions.csv", "images"
FILES = (SCORES, METRICS, TRIPLES, PREDICTIONS, IMAGES, bad_images.NAME)


class RestorationReport(Callback):
    """Write the results of a run whose steps return a :class:`~lit_cnn.tasks.outputs.RestorationOutput`.

    In ``out_dir``, of a test or validation: scores.csv (PSNR and SSIM of each image and of what the network was given),
    metrics.json and triples.zip; of a prediction: ``images``, the restored images in full size as PNG, written as they
    come, and predictions.csv, which says which is which. bad_images.csv if any were skipped. If one of these is there
    already, all go to a new folder in it, ``test_2`` and so on.

    Args:
        out_dir: Folder for the files; made if need be. May be set until the run starts; only rank zero reads it.
    """

    def __init__(self, out_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self.out_dir = out_dir
        self._folder = Path()
        self._batches: list[dict[str, torch.Tensor]] = []
        self._names: dict[int, str] = {}  # of the images that are written, by index
        self._shown: dict[int, Triple | None] = {}  # pictures by index

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the folder and the images that are shown."""
        if trainer.state.fn == "fit":
            return
        self._batches, self._names, self._shown = [], {}, {}
        self._folder = Path(trainer.strategy.broadcast(str(self._free_dir(_stage(trainer)))))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As for a test, but not of validation during training."""
        self.on_test_start(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the folder, and the names of the images that will be written."""
        self.on_test_start(trainer, pl_module)
        data = datamodule(trainer)
        loader: Any = trainer.predict_dataloaders
        indices = loader.indices.tolist()
        stems = {i: Path(data.sample_name("predict", i)).stem for i in indices}
        count = Counter(stem.lower() for stem in stems.values())
        self._names = {i: f"{s if count[s.lower()] == 1 else f'{i:06d}_{s}'}.png" for i, s in stems.items()}
        (self._folder / IMAGES).mkdir(parents=True, exist_ok=True)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the scores of the batch, and the pictures of some images; write the images of a prediction."""
        if trainer.state.fn == "fit" or outputs is None:
            return
        scores = {name: outputs[name] for name in COLUMNS if name in outputs}
        self._batches.append({"index": outputs["index"], **scores})
        for i, index in enumerate(outputs["index"].tolist()):
            if trainer.state.fn == "predict":
                self._write(trainer, index, outputs["restored"][i])
            elif index in self._wanted(trainer):
                images = (outputs[name][i] for name in ("image", "restored", "target"))
                self._shown[index] = triple([image.float().cpu().numpy() for image in images])

    on_validation_batch_end = on_predict_batch_end = on_test_batch_end

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores and print the table, but not of validation during training."""
        if trainer.state.fn == "fit":
            return
        scalars = {name: float(value) for name, value in trainer.callback_metrics.items()}
        found, split = self._gathered(trainer), SPLITS[_stage(trainer)]
        data = datamodule(trainer)
        skipped = gather_skipped(trainer, data.skipped(split))
        shown = self._gather_shown(trainer)
        if not trainer.is_global_zero:
            return
        indices = found["index"].tolist()
        rows = rows_of([data.sample_name(split, i) for i in indices], found)
        self._folder.mkdir(parents=True, exist_ok=True)
        place = {index: row for row, index in enumerate(indices)}
        write_scores(self._folder, rows, scalars, len(skipped), {place[i]: each for i, each in shown.items()})
        if skipped:
            bad_images.write_bad_images(self._folder, skipped)
        self._show(trainer, scores_table(split, rows, len(skipped)))
        self._show(trainer, Text(f"written to {self._folder}"))

    on_validation_end = on_test_end

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write which image is which, and print where they are."""
        found, data = self._gathered(trainer), datamodule(trainer)
        skipped = gather_skipped(trainer, data.skipped("predict"))
        if not trainer.is_global_zero:
            return
        files = {i: data.sample_name("predict", i) for i in found["index"].tolist()}
        done = [(file, f"{IMAGES}/{self._names[i]}") for i, file in files.items() if file not in skipped]
        if skipped:
            bad_images.write_bad_images(self._folder, skipped)
        if not done:
            first = next(iter(skipped.items()))
            raise UserError(f"none of the {len(files):,} images can be read: {first[0]} ({first[1]}), ...")
        with atomic_write(self._folder / PREDICTIONS, newline="", errors="surrogateescape") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "restored"])
            writer.writerows(done)
        left_out = f", {len(skipped):,} could not be read, see {bad_images.NAME}" if skipped else ""
        where = self._folder / (done[0][1] if len(done) == 1 else IMAGES)
        self._show(trainer, Text(f"{len(done):,} image{'s' * (len(done) > 1)} restored{left_out}"))
        self._show(trainer, Text(f"written to {where}"))

    def _write(self, trainer: Trainer, index: int, image: torch.Tensor) -> None:
        data = datamodule(trainer)
        if data.sample_name("predict", index) not in data.skipped("predict"):
            pixels = to_bytes(image.cpu().numpy())
            to_image(pixels).save(self._folder / IMAGES / self._names[index], compress_level=3)

    def _wanted(self, trainer: Trainer) -> dict[int, Triple | None]:
        """The images that are shown, by index; the same on every rank."""
        if not self._shown:
            loader: Any = trainer.test_dataloaders if trainer.state.fn == "test" else trainer.val_dataloaders
            indices = loader.indices.tolist()
            self._shown = {indices[place]: None for place in chosen(len(indices))}
        return self._shown

    def _gathered(self, trainer: Trainer) -> dict[str, np.ndarray]:
        found = gather_outputs(trainer, self._batches)
        self._batches = []
        if not found:
            raise UserError("there were no images to evaluate")
        return found

    def _gather_shown(self, trainer: Trainer) -> dict[int, Triple]:
        own = {index: each for index, each in self._shown.items() if each is not None}
        parts: list[dict[int, Triple]] = [own]
        if trainer.world_size > 1:
            parts *= trainer.world_size
            torch.distributed.all_gather_object(parts, own)
        return {index: each for part in parts for index, each in part.items()}

    def _show(self, trainer: Trainer, item: Any) -> None:
        screen = getattr(trainer.progress_bar_callback, "console", None) or console()
        show(item, screen, soft_wrap=isinstance(item, Text), highlight=False)

    def _free_dir(self, stage: str) -> Path:
        """Return ``out_dir``, or the first numbered folder in it, where no file would be overwritten."""
        folder, number = Path(self.out_dir), 2
        while any((folder / name).exists() for name in FILES):
            folder, number = Path(self.out_dir) / f"{stage}_{number}", number + 1
        return folder


def _stage(trainer: Trainer) -> str:
    return str(trainer.state.fn.value) if trainer.state.fn else ""
