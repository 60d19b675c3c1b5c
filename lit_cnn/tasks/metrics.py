"""Metrics summed over samples, so that neither batches nor ranks change the result."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix


class ExactMean(Metric):
    """Mean over samples.

    The sum is kept in float64, so that its rounding error stays far below what float32 shows however the samples are
    grouped into batches and ranks.
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add the values of N samples, float (N,)."""
        self.total += values.sum(dtype=torch.float64)
        self.count += values.numel()

    def add(self, value: Tensor, count: int, times: int = 1) -> None:
        """Add ``times * value``, a scalar, for ``count`` samples: ``update`` without torchmetrics' wrapper.

        A training step of a small network takes a few milliseconds, and that wrapper a tenth of one.
        """
        self._update_count += 1  # else torchmetrics warns that it was never updated
        self._computed = None
        self.total.add_(value.double(), alpha=times)
        self.count.add_(count)

    def compute(self) -> Tensor:
        """float32 scalar; NaN without samples."""
        return (self.total / self.count).float()


class EpochMeans(nn.ModuleDict):
    """Running means over the training samples of an epoch, by name, such as ``loss`` and ``acc``.

    The sums are stored in checkpoints, so that a resumed epoch ends with the same numbers.

    Args:
        names: means that there are from the start; :meth:`add` adds others, such as auxiliary losses.
    """

    def __init__(self, *names: str) -> None:
        super().__init__({name: ExactMean() for name in names})

    def mean(self, name: str) -> ExactMean:
        """The running mean ``name``, created if need be."""
        if name not in self:
            device = next((mean.total.device for mean in self._means().values()), None)
            self[name] = ExactMean().to(device)
        mean = self[name]
        assert isinstance(mean, ExactMean)
        return mean

    def _means(self) -> dict[str, ExactMean]:
        return {name: mean for name, mean in self.items() if isinstance(mean, ExactMean)}

    @torch.no_grad()
    def add(self, count: int, means: Mapping[str, Tensor], sums: Mapping[str, Tensor] | None = None) -> None:
        """Add a training batch.

        Args:
            count: samples in the batch.
            means: scalars by name, means over the batch.
            sums: scalars by name, sums over the batch.
        """
        for name, value in (sums or {}).items():
            self.mean(name).add(value, count)
        for name, value in means.items():
            self.mean(name).add(value, count, times=count)

    def local_state(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Copies of this rank's sums, float64 scalars, and counts, int64 scalars, by name."""
        return {name: (mean.total.clone(), mean.count.clone()) for name, mean in self._means().items()}

    @torch.no_grad()
    def load_local_state(self, state: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Restore what :meth:`local_state` returned; means that it does not have are reset."""
        for name, mean in self._means().items():
            if name in state:
                mean.total.copy_(state[name][0])
                mean.count.copy_(state[name][1])
            else:
                mean.reset()

    def sums(self) -> dict[str, dict[str, Tensor]]:
        """Sums over all ranks, for a checkpoint: ``{name: {"total": float64 scalar, "count": int64 scalar}}``.

        Collective: every rank has to call it.
        """
        kept: dict[str, dict[str, Tensor]] = {}
        for name, mean in self._means().items():
            with mean.sync_context():  # all-reduces the state, and restores this rank's own afterwards
                kept[name] = {"total": mean.total.clone(), "count": mean.count.clone()}
        return kept

    def resume(self, sums: Mapping[str, Mapping[str, Tensor]], rank: int) -> None:
        """Resume from a checkpoint's ``sums`` on ``rank``.

        They are sums over all ranks: rank 0 continues them, the others only create the means, as all ranks have to
        reduce the same ones.
        """
        for name, state in sums.items():
            mean = self.mean(name)
            if rank == 0:
                mean.total += state["total"].to(mean.total)
                mean.count += state["count"].to(mean.count)
                mean._update_count += 1  # else torchmetrics warns that it was never updated


def count_correct(logits: Tensor, target: Tensor) -> Tensor:
    """Number of correct predictions, an int64 scalar.

    Args:
        logits: float (N, K).
        target: class indices int64 (N,), or class probabilities float (N, K), of which the largest counts.
    """
    hard = target if target.ndim == 1 else target.argmax(1)
    return (logits.argmax(1) == hard).sum()


def accuracies(num_classes: int) -> MetricCollection:
    """Top-1 accuracy, and top-5 accuracy of more than five classes.

    ``update(logits (N, K), target int64 (N,))``; counts are integers, so sums over ranks are exact.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "acc": MulticlassAccuracy(num_classes, average="micro", validate_args=False)
    }
    if num_classes > 5:
        metrics["acc_top5"] = MulticlassAccuracy(num_classes, average="micro", top_k=5, validate_args=False)
    # compute_groups would let the two share their state, although top-5 counts differently
    return MetricCollection(metrics, compute_groups=False)


def confusion_matrix(num_classes: int) -> Metric:
    """Confusion matrix: counts int64 (K, K), true classes on rows."""
    return MulticlassConfusionMatrix(num_classes, validate_args=False)
