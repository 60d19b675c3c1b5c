"""best.ckpt: saved at an epoch's end, after the epoch's numbers are in the logs."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, which has every epoch logged before it is saved.

    Lightning logs after saving: a run that is killed in between, and goes on with the next epoch, would never log the
    one that the checkpoint has finished.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what Lightning is about to log, leave it nothing to log twice, then save."""
        loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
        connector.on_epoch_end()  # takes over what callbacks and the progress bar want to know
        loop._batches_that_stepped -= 1  # loggers expect the number of the epoch's last step
        connector.update_train_epoch_metrics()
        loop._batches_that_stepped += 1
        super().on_train_epoch_end(trainer, pl_module)
