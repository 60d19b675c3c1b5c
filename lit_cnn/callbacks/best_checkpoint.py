"""best.ckpt: saved at an epoch's end, after the epoch's metrics are logged."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_cnn.utils.lightning_internals import log_epoch_before_saving


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, except that every epoch is logged before it is saved.

    Lightning logs after saving: a run that is killed in between would resume at the next epoch and never log the one
    that the checkpoint has finished.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch, then save."""
        log_epoch_before_saving(trainer)
        super().on_train_epoch_end(trainer, pl_module)
