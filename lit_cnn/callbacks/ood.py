"""Features before the head, for telling images that are unlike the validation images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_cnn.callbacks.gathered import gather_outputs
from lit_cnn.checkpoint.record import KEY, OOD
from lit_cnn.distributed.fsdp import ShardedStrategy
from lit_cnn.errors import UserError
from lit_cnn.interpret.features import as_vectors
from lit_cnn.models._freeze import find_head
from lit_cnn.results.ood import MOST, OODDetector, fit_ood
from lit_cnn.tasks.base import BaseTask


class HeadTap:
    """Keeps the first input of a network's head since the last :meth:`take`: test-time augmentation runs it again."""

    def __init__(self) -> None:
        self._hook: Any = None
        self._found: Tensor | None = None

    def start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin, unless the network has no head, is compiled (its graph runs no hooks), or is sharded."""
        self.stop()
        if not isinstance(module, BaseTask) or module.hparams.get("compile"):
            return
        if isinstance(trainer.strategy, ShardedStrategy):
            return
        try:
            head = module.backbone.get_submodule(find_head(module.backbone, module.hparams.get("num_classes")))
        except UserError:
            return
        self._hook = head.register_forward_pre_hook(self._keep)

    def _keep(self, head: Any, inputs: tuple[Any, ...]) -> None:
        if self._found is None:
            self._found = inputs[0].detach()

    def take(self) -> Tensor | None:
        """Features float (N, D) of the last batch; of a 1x1 convolution the mean over its positions."""
        found, self._found = self._found, None
        return None if found is None else as_vectors(found).float()

    def stop(self) -> None:
        """End."""
        if self._hook is not None:
            self._hook.remove()
        self._hook = self._found = None


def doubt_of(probs: Tensor) -> Tensor:
    """1 less the probability of the predicted class, (N,), of probabilities (N, K)."""
    return 1 - probs.amax(dim=1)


class OODProjector:
    """Coordinates of features for a detector, where they are computed.

    Args:
        detector: of the network.
    """

    def __init__(self, detector: OODDetector) -> None:
        self._basis = torch.from_numpy(detector.basis).float()

    def __call__(self, features: Tensor) -> Tensor:
        """Coordinates float32 (N, d) of features float (N, D)."""
        self._basis = self._basis.to(features.device)
        return F.normalize(features, dim=1) @ self._basis


class FitOODDetector(Callback):
    """Keep in each checkpoint the features of the last validation, compactly. Training does not see them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: OODDetector | None = None
        self._tap = HeadTap()
        self._batches: list[dict[str, Tensor]] = []
        self._every = 1  # image of which one is used

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to keep features."""
        self._batches = []
        if not trainer.sanity_checking:
            self._tap.start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep those of evenly spaced images."""
        features = self._tap.take()
        if features is None or outputs is None or len(features) != len(outputs["index"]):
            return
        if outputs["target"].ndim != 1:  # several labels an image
            return
        doubt = doubt_of(outputs["probs"].detach().float())
        if not self._batches:
            images = sum(map(int, trainer.num_val_batches)) * len(features) * trainer.world_size
            self._every = max(1, -(-images // MOST))
        chosen = outputs["index"] % self._every == 0
        self._batches.append({"index": outputs["index"][chosen], "features": features[chosen], "doubt": doubt[chosen]})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the detector; before the checkpoints of this epoch are written."""
        self._tap.stop()
        if trainer.sanity_checking:
            return
        found = gather_outputs(trainer, self._batches)
        self._batches = []
        self.found = fit_ood(found["features"], found["doubt"]) if found else None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no hook behind."""
        self._tap.stop()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add it to the project's own part."""
        if self.found is not None and KEY in checkpoint:
            checkpoint[KEY][OOD] = {
                "basis": torch.from_numpy(self.found.basis.copy()),
                "bank": torch.from_numpy(self.found.bank.copy()),
                "distance": list(self.found.distance),
                "doubt": list(self.found.doubt),
                "threshold": self.found.threshold,
            }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """A run that is resumed within an epoch saves the last validation's again."""
        self.found = read_detector(checkpoint.get(KEY, {}).get(OOD))


def read_detector(stored: Any) -> OODDetector | None:
    """The detector of a checkpoint's part; None where it has none."""
    if not stored:
        return None
    distance, doubt = ((float(mean), float(std)) for mean, std in (stored["distance"], stored["doubt"]))
    return OODDetector(stored["basis"].numpy(), stored["bank"].numpy(), distance, doubt, float(stored["threshold"]))
