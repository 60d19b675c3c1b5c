"""Metrics summed over samples, so that neither batches nor ranks change the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy


class ExactMean(Metric):
    """Mean over samples.

    The sum is kept in float64, so that its rounding error stays far below what float32 shows however the samples are
    grouped into batches and ranks. Where a device has no float64 (Apple's GPUs), ``total`` is float32 (2,) instead: the
    sum, and the part of it that float32 loses (compensated summation, Neumaier 1974).
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
        if self.total.dtype == torch.float64:
            self.total += values.sum(dtype=torch.float64)
        else:
            self.total.copy_(_add_pairs(self.total, _sum_pairs(values.float())))
        self.count += values.numel()

    def add(self, value: Tensor, count: int, times: int = 1) -> None:
        """Add ``times * value``, a scalar, for ``count`` samples: ``update`` without torchmetrics' wrapper.

        A training step of a small network takes a few milliseconds, and that wrapper a tenth of one.
        """
        self._update_count += 1  # else torchmetrics warns that it was never updated
        self._computed = None
        if self.total.dtype == torch.float64:
            self.total.add_(value.double(), alpha=times)
        else:
            self.total.copy_(_add_pairs(self.total, _multiply(value.float(), times)))
        self.count.add_(count)

    def add_total(self, total: Tensor, count: Tensor) -> None:
        """Add a sum, a float64 scalar, of ``count`` samples."""
        self._update_count += 1
        if self.total.dtype == torch.float64:
            self.total += total.to(self.total)
        else:
            self.total.copy_(_add_pairs(self.total, _as_pair(total.cpu()).to(self.total)))
        self.count += count.to(self.count)

    def exact_total(self) -> Tensor:
        """The sum, a new float64 scalar."""
        return self.total.clone() if self.total.dtype == torch.float64 else self.total.cpu().double().sum()

    def compute(self) -> Tensor:
        """float32 scalar; NaN without samples."""
        if self.total.dtype == torch.float64:
            return (self.total / self.count).float()
        return (self.exact_total() / self.count.cpu()).float().to(self.total.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        """As torchmetrics', with the sum as float32 (2,) where ``fn`` moves it to a device without float64."""
        wide = True
        try:
            fn(torch.zeros((), dtype=torch.float64))
        except (TypeError, RuntimeError):  # what torch raises for MPS
            wide = False
        if wide != (self.total.dtype == torch.float64):
            if wide:  # back from such a device
                self.total, self._defaults["total"] = self.exact_total(), torch.zeros((), dtype=torch.float64)
            else:
                self.total, self._defaults["total"] = _as_pair(self.total), torch.zeros(2)
        return super()._apply(fn, exclude_state)


def _as_pair(value: Tensor) -> Tensor:
    """float32 (2,) whose sum is the float64 scalar ``value`` to 48 bits."""
    high = value.float()
    return torch.stack([high, (value - high).float()])


def _add_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Sums of pairs of a number and its rest, float32 (2, …), by error-free addition (Knuth's TwoSum)."""
    total = a[0] + b[0]
    part = total - a[0]
    rest = (a[0] - (total - part)) + (b[0] - part) + (a[1] + b[1])
    # where the total is infinite or NaN so is its rest, which must not turn an infinity into NaN
    rest = torch.where(total.isfinite(), rest, 0)
    high = total + rest
    return torch.stack([high, torch.where(high.isfinite(), rest - (high - total), 0)])


def _sum_pairs(values: Tensor) -> Tensor:
    """Sum of float32 (N,) as a pair, float32 (2,), in a binary tree."""
    pairs = torch.stack([values.flatten(), torch.zeros_like(values.flatten())])
    while (count := pairs.shape[1]) > 1:
        half = (count + 1) // 2
        pairs = _add_pairs(pairs[:, :half], nn.functional.pad(pairs[:, half:], (0, 2 * half - count)))
    return pairs.sum(1)


def _multiply(value: Tensor, times: int) -> Tensor:
    """``times * value``, a float32 scalar, as a pair: the products of its halves are exact up to 4,096 times."""
    spread = value * 4097  # 2^12 + 1: Dekker's split
    high = torch.where(spread.isfinite(), spread - (spread - value), value)
    low = torch.where(high.isfinite(), value - high, 0)
    return _add_pairs(torch.stack([high * times, torch.zeros_like(high)]), torch.stack([low * times, low * 0]))


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
        """Copies of this rank's sums, as ExactMean keeps them, and counts, int64 scalars, by name."""
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
                kept[name] = {"total": mean.exact_total(), "count": mean.count.clone()}
        return kept

    def resume(self, sums: Mapping[str, Mapping[str, Tensor]], rank: int) -> None:
        """Resume from a checkpoint's ``sums`` on ``rank``.

        They are sums over all ranks: rank 0 continues them, the others only create the means, as all ranks have to
        reduce the same ones.
        """
        for name, state in sums.items():
            mean = self.mean(name)
            if rank == 0:
                mean.add_total(state["total"], state["count"])


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


class ConfusionMatrix(Metric):
    """Confusion matrix: counts int64 (K, K), true classes on rows.

    torchmetrics' compares every prediction with every cell where algorithms have to be deterministic, and on Apple's
    GPUs: 8 GB for a batch of 1,000 images of 1,000 classes. Counting integers is deterministic everywhere.

    Args:
        num_classes: K.
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False
    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch: logits (N, K), targets int64 (N,)."""
        cells = target * self.num_classes + logits.argmax(1)
        self.counts += torch.bincount(cells, minlength=self.num_classes**2).view_as(self.counts)

    def compute(self) -> Tensor:
        """int64 (K, K)."""
        return self.counts.clone()
