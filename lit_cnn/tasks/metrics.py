"""What is measured in each split, summed so that neither batches nor processes change the result."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix


class ExactMean(Metric):
    """Mean over samples.

    The sum is kept in float64, so that its rounding error stays far below what float32 shows however the samples are
    grouped into batches and processes.
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
        """Add ``times * value``, a scalar, for ``count`` samples: as ``update``, without torchmetrics' wrapper.

        A training step of a small network takes a few milliseconds, and that wrapper a tenth of one.
        """
        self._update_count += 1  # else torchmetrics takes it for never updated
        self._computed = None
        self.total.add_(value.double(), alpha=times)
        self.count.add_(count)

    def compute(self) -> Tensor:
        """float32 scalar; NaN when nothing was added."""
        return (self.total / self.count).float()


def accuracies(num_classes: int) -> MetricCollection:
    """Top-1 accuracy, and top-5 when there are more than five classes to choose from.

    ``update(logits (N, K), target int64 (N,))``; counts are integers, so sums over processes are exact.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "acc": MulticlassAccuracy(num_classes, average="micro", validate_args=False)
    }
    if num_classes > 5:
        metrics["acc_top5"] = MulticlassAccuracy(num_classes, average="micro", top_k=5, validate_args=False)
    # compute_groups would let the two share states, which they must not: top-5 counts differently
    return MetricCollection(metrics, compute_groups=False)


def confusion_matrix(num_classes: int) -> Metric:
    """Counts int64 (K, K), true classes on rows."""
    return MulticlassConfusionMatrix(num_classes, validate_args=False)
