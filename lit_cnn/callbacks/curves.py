"""results.png: loss, accuracy and learning rate of a run, drawn from its metrics.csv."""

from __future__ import annotations

import math
import time

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.callbacks.csv_logger import MetricsCSV
from lit_cnn.results.curves import plot_curves, why_no_figures
from lit_cnn.tasks.base import as_task
from lit_cnn.utils.console import say


class Curves(Callback):
    """Draws ``results.png`` beside the run's metrics.csv, at the end of training however it ends.

    A long run is drawn on the way too, after an epoch, once ``every_seconds`` went by: drawing takes about half a
    second, more than an epoch of a small model.

    Args:
        every_seconds: The least time between two drawings during training.
        title: Title of the figure; the task's title by default.
    """

    FILE_NAME = "results.png"

    def __init__(self, every_seconds: float = 60.0, title: str | None = None) -> None:
        super().__init__()
        self.every_seconds = every_seconds
        self.title = title
        self._drawn_at = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._drawn_at = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the epochs so far: those before this one are in the file only now, after the epoch-end hooks."""
        if time.monotonic() - self._drawn_at >= self.every_seconds:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw all epochs."""
        self._draw(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw what there is when training is stopped by Ctrl-C or fails."""
        if trainer.state.fn != "fit":
            return
        try:
            self._draw(trainer, pl_module)
        except Exception as error:  # whatever it is, it must not hide the exception that ended the run
            say(f"{self.FILE_NAME} was not drawn: {error}", error=True)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logger = next((log for log in trainer.loggers if isinstance(log, MetricsCSV)), None)
        if logger is None or not trainer.is_global_zero:
            return
        logger.save()
        if logger.path.exists():
            if reason := why_no_figures():
                say(f"{self.FILE_NAME} was not drawn: {reason}", error=True)
                self.every_seconds = math.inf  # once is enough
                return
            title = self.title if self.title is not None else as_task(pl_module).title
            plot_curves(logger.path, logger.path.with_name(self.FILE_NAME), title)
        self._drawn_at = time.monotonic()
