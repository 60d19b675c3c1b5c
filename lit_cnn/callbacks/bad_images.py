"""Write bad_images.csv, the list of skipped images, when training starts."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.results.bad_images import NAME, write_bad_images
from lit_cnn.utils.datamodule import datamodule


class BadImages(Callback):
    """Write the list into a training run's folder, if there is anything to list.

    Args:
        run_dir: The run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the list; on resume it is the present one."""
        if trainer.is_global_zero:
            found = datamodule(trainer).skipped()
            if found or (self.run_dir / NAME).exists():
                write_bad_images(self.run_dir, found)
