"""Temperature and threshold of prediction sets, chosen at every validation of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.callbacks.gathered import gather_outputs
from lit_cnn.checkpoint.record import CALIBRATION, KEY
from lit_cnn.results.calibration import Calibration, calibrate
from lit_cnn.results.predictions import Predictions

MOST_CELLS = 2_000_000  # probabilities that are used; of more, evenly spaced images
TOP = 5  # most probable classes that are kept of every image


class CalibrateOnValidation(Callback):
    """Keep in each checkpoint what the last validation says about the probabilities.

    It is a function of the validated weights alone, so that a checkpoint is complete when it is written, and a resumed
    run writes the same. Training does not see it.

    Attributes:
        found: what was chosen; None before the first validation.
        outputs: of the last validation, over all ranks: index, target, label and prob of the most probable classes, and
            probs where they are few enough; empty before it, and with several labels an image.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Calibration | None = None
        self.outputs: Predictions = {}
        self._batches: list[dict[str, torch.Tensor]] = []
        self._some: list[dict[str, torch.Tensor]] = []  # of evenly spaced images, where there are many
        self._every = 1  # image of which one is used

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop what a validation that failed has left."""
        self._batches, self._some = [], []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's probabilities."""
        if not isinstance(outputs, Mapping) or trainer.sanity_checking or "probs" not in outputs:
            return
        if outputs["target"].ndim != 1:  # several labels an image: no probabilities that sum to 1
            return
        probs = outputs["probs"].detach().float()
        if not self._batches:  # the first batch is a full one
            images = sum(map(int, trainer.num_val_batches)) * len(probs) * trainer.world_size
            self._every = -(-images * probs.shape[1] // MOST_CELLS)
        prob, label = probs.topk(min(TOP, probs.shape[1]), dim=1)
        kept = {"index": outputs["index"], "target": outputs["target"], "prob": prob, "label": label}
        if self._every == 1:
            kept["probs"] = probs
        else:
            chosen = outputs["index"] % self._every == 0
            some = {"index": outputs["index"], "target": outputs["target"], "probs": probs}
            self._some.append({name: value[chosen] for name, value in some.items()})
        self._batches.append(kept)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose; before the checkpoints of this epoch are written."""
        if trainer.sanity_checking:
            return
        self.outputs = gather_outputs(trainer, self._batches)
        every = trainer.strategy.reduce_boolean_decision(self._every == 1)  # a rank may have had no batch
        used = self.outputs if every else gather_outputs(trainer, self._some)
        self._batches, self._some = [], []
        self.found = calibrate(used["target"], used["probs"]) if used else None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add it to the project's own part."""
        if self.found is not None and KEY in checkpoint:
            checkpoint[KEY][CALIBRATION] = self.found._asdict()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """A run that is resumed within an epoch saves the last validation's again."""
        stored = checkpoint.get(KEY, {}).get(CALIBRATION)
        self.found = Calibration(**stored) if stored else None
