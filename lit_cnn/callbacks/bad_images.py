"""bad_images.csv: the images a run left out because they cannot be read."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.utils.datamodule import datamodule

NAME = "bad_images.csv"


class BadImages(Callback):
    """Write the list into a training run's folder, if there is anything to list.

    Args:
        run_dir: The run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the list; on resume it is that of now."""
        if trainer.is_global_zero:
            found = datamodule(trainer).skipped()
            if found or (self.run_dir / NAME).exists():
                write_bad_images(self.run_dir, found)


def write_bad_images(folder: Path, found: Mapping[str, str]) -> None:
    """Write ``folder/bad_images.csv`` with the columns path and reason."""
    with (folder / NAME).open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "reason"])
        writer.writerows(found.items())
