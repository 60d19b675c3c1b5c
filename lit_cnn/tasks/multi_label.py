"""Scores of images with any number of labels, in scikit-learn's definitions."""

from __future__ import annotations

from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelExactMatch, MultilabelF1Score

THRESHOLD = 0.5  # a label is predicted above this probability
_STEPS = 1001  # thresholds that the average precision is computed at, so that its counts can be summed over ranks


def count_exact(logits: Tensor, target: Tensor) -> Tensor:
    """Number of images all of whose labels are right, an int64 scalar.

    Args:
        logits: float (N, K).
        target: 0 to 1 for each class (N, K); a mixed image has the labels above one half.
    """
    return ((logits.float().sigmoid() > THRESHOLD) == (target > THRESHOLD)).all(1).sum()


def label_scores(num_classes: int) -> MetricCollection:
    """Exact matches (``acc``, scikit-learn's accuracy of several labels), F1 over all labels, mean average precision.

    ``update(probabilities (N, K), target int64 (N, K))``. All states are counts, so sums over ranks are exact; the
    average precision is therefore computed at 1,001 thresholds.

    Args:
        num_classes: K.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "acc": MultilabelExactMatch(num_classes, threshold=THRESHOLD, validate_args=False),
        "f1": MultilabelF1Score(num_classes, threshold=THRESHOLD, average="micro", validate_args=False),
        "map": MultilabelAveragePrecision(num_classes, thresholds=_STEPS, validate_args=False),
    }
    return MetricCollection(metrics, compute_groups=False)
