"""best.ckpt: saved at an epoch's end, after the epoch's metrics are logged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lit_cnn.utils.files import link_or_copy
from lit_cnn.utils.lightning_internals import log_epoch_before_saving

BEST = "best"
LOSS = "val/loss"


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, except for the time of saving and for the names of the files.

    Every epoch is logged before it is saved. Lightning logs after saving: a run that is killed in between would resume
    at the next epoch and never log the one that the checkpoint has finished.

    ``best.ckpt`` is always the best one: where files have other names, or more than one is kept, it is a hard link to
    the best, or a copy. Files named ``best`` of which more than one is kept are called ``epoch3.ckpt`` and so on.
    Names do not depend on files that a killed run has left, as Lightning's do.

    Where only the best is kept, of epochs with the same score the one with the lowest ``val/loss`` is the best: a few
    validation images give many epochs the same accuracy.
    """

    _tie_loss: float | None = None  # val/loss of the epoch that is kept
    on_improvement: Callable[[Trainer], None] | None = None  # called by all ranks when there is a new best one

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether this epoch is among the best ones."""
        better = super().check_monitor_top_k(trainer, current)
        loss = trainer.callback_metrics.get(LOSS)
        if self.save_top_k != 1 or self.monitor == LOSS or loss is None or current is None:
            return better
        if not better and self._tie_loss is not None and current == self.best_model_score:
            better = trainer.strategy.reduce_boolean_decision(float(loss) < self._tie_loss)
        if better:
            self._tie_loss = float(loss)
        return better

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, and the loss that decides between equal scores."""
        return {**super().state_dict(), "tie_loss": self._tie_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it; older checkpoints have no loss."""
        super().load_state_dict(state_dict)
        if self.best_model_score is not None:
            self._tie_loss = state_dict.get("tie_loss")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch, then save."""
        log_epoch_before_saving(trainer)
        before = self._best()
        super().on_train_epoch_end(trainer, pl_module)
        self._after_saving(trainer, before)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where validation is the time for it."""
        before = self._best()
        super().on_validation_end(trainer, pl_module)
        self._after_saving(trainer, before)

    def format_checkpoint_name(self, metrics: dict[str, Tensor], *args: Any, **kwargs: Any) -> str:
        """The path of a checkpoint, right in the folder: a slash of a metric's name becomes an underscore."""
        if self.filename == BEST and not args and "filename" not in kwargs and not self._names_best:
            what = "epoch" if self.every_n_epochs else "step"
            kwargs["filename"] = f"{{{what}}}" if self.auto_insert_metric_name else f"{what}{{{what}}}"
        path = super().format_checkpoint_name(metrics, *args, **kwargs)
        folder = Path(self.dirpath or ".")
        return str(folder / os.path.relpath(path, folder).replace(os.sep, "_"))

    def file_exists(self, filepath: str | os.PathLike[str], trainer: Trainer) -> bool:
        """Whether a checkpoint that is kept has this name."""
        return str(filepath) in self.best_k_models

    @property
    def _names_best(self) -> bool:
        """Whether the only file is best.ckpt itself."""
        return self.save_top_k in (0, 1)

    def _best(self) -> tuple[Any, ...]:
        score = self.best_model_score
        return self.best_model_path, None if score is None else float(score), self._tie_loss

    def _after_saving(self, trainer: Trainer, before: tuple[Any, ...]) -> None:
        self._link_best(trainer)
        if self.monitor is not None and self._best() != before and self.on_improvement is not None:
            self.on_improvement(trainer)

    def _link_best(self, trainer: Trainer) -> None:
        """Let best.ckpt be the best checkpoint; rank zero does."""
        if self.monitor is None or not self.best_model_path or not trainer.is_global_zero:
            return
        best = Path(self.best_model_path)
        link = best.with_name(f"{BEST}.ckpt")
        if best != link and best.is_file() and not (link.is_file() and link.samefile(best)):
            link_or_copy(best, link)
