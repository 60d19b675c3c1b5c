"""What training measures over an epoch, kept in checkpoints so that a resumed epoch ends on the same numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_cnn.tasks.metrics import ExactMean


class EpochMeans(nn.ModuleDict):
    """Running means over the samples of an epoch, by name: ``loss``, ``acc`` and one for each auxiliary loss."""

    def __init__(self) -> None:
        super().__init__({"loss": ExactMean(), "acc": ExactMean()})

    def mean(self, name: str) -> ExactMean:
        """The running mean called ``name``; auxiliary losses are known only from the first step on."""
        if name not in self:
            self[name] = ExactMean().to(self.mean("loss").total.device)
        mean = self[name]
        assert isinstance(mean, ExactMean)
        return mean

    @torch.no_grad()
    def add(self, loss: Tensor, parts: dict[str, Tensor], logits: Tensor, target: Tensor) -> Tensor:
        """Add a training batch of N samples.

        Args:
            loss: scalar, the batch's mean.
            parts: further scalars by name.
            logits: float (N, K).
            target: class indices int64 (N,), or class probabilities float (N, K), whose largest counts.

        Returns:
            The batch's accuracy, a scalar.
        """
        hard = target if target.ndim == 1 else target.argmax(1)
        count, right = len(hard), (logits.argmax(1) == hard).sum()
        self.mean("acc").add(right, count)
        for name, value in {"loss": loss.detach(), **parts}.items():
            self.mean(name).add(value, count, times=count)
        return right / count

    def sums(self) -> dict[str, dict[str, Tensor]]:
        """Sums over all processes, for a checkpoint: ``{name: {"total": float64 scalar, "count": int64 scalar}}``.

        Every process has to call it.
        """
        kept: dict[str, dict[str, Tensor]] = {}
        for name in self:
            mean = self.mean(name)
            with mean.sync_context():  # every process takes part in saving, one writes: the sum over all is kept
                kept[name] = {"total": mean.total.clone(), "count": mean.count.clone()}
        return kept

    def resume(self, sums: dict[str, dict[str, Tensor]], rank: int) -> None:
        """Take up the ``sums`` of a checkpoint, in the process number ``rank``.

        The file holds the sum over processes: the first one carries it on, the others only know its names.
        """
        for name, state in sums.items():
            mean = self.mean(name)
            if rank == 0:
                mean.total += state["total"].to(mean.total)
                mean.count += state["count"].to(mean.count)
                mean._update_count += 1  # else torchmetrics takes it for never updated
