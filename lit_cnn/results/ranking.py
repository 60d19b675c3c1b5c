"""Scores of a classifier's probabilities that depend on their order alone: top-k accuracy and AUROC. NumPy only."""

from __future__ import annotations

import numpy as np

from lit_cnn.results.scores import Score, wilson


def top_k_accuracy(target: np.ndarray, label: np.ndarray) -> Score:
    """Share of images whose class is among their k most probable ones, with Wilson's interval.

    Args:
        target: int (N,), classes; below 0: unknown, not counted.
        label: int (N, k), most probable classes.
    """
    known = target >= 0
    hits = (label[known] == target[known, None]).any(1)
    return wilson(float(hits.sum()), float(known.sum()))


def roc_auc(target: np.ndarray, probs: np.ndarray) -> Score:
    """Area under the ROC curve of each class against all others, averaged over classes.

    As scikit-learn's ``roc_auc_score`` with ``multi_class="ovr"``; of two classes, that of the second one. Classes that
    no image has are left out of the average, where scikit-learn refuses.

    The interval is Wilson's, of as many images as give the variance of DeLong, DeLong and Clarke-Pearson (1988). It
    does not leave [0, 1], and is honest where all images are ranked rightly, of which a bootstrap would have no doubt.

    Args:
        target: int (N,), classes; below 0: unknown, not counted.
        probs: float (N, K).

    Returns:
        NaN where all images are of one class.
    """
    known = target >= 0
    target, probs = target[known], probs[known]
    count = np.bincount(target, minlength=probs.shape[1])
    classes = np.flatnonzero((count > 0) & (count < len(target)))
    if len(classes) == 0:
        return Score(float("nan"), float("nan"), float("nan"))
    if probs.shape[1] == 2:
        classes = classes[-1:]
    areas = []
    influence = np.zeros(len(target))  # what each image adds to the average, to first order
    for k in classes:
        own = target == k
        inside, outside = probs[own, k], probs[~own, k]
        right = 1 - _share_below(inside, outside)  # of each other image: share of the class's that rank above it
        influence[own] += _share_below(outside, inside) / len(inside)
        influence[~own] += right / len(outside)
        areas.append(right.mean())
    influence /= len(classes)
    value = float(np.mean(areas))
    mean = np.bincount(target, influence, len(count)) / np.maximum(count, 1)
    squares = np.bincount(target, (influence - mean[target]) ** 2, len(count))
    variance = float((squares * count / np.maximum(count - 1, 1)).sum())
    # no variance of an area exceeds that of a share of as many images as the smaller group has (Birnbaum, Klose, 1957)
    fewest = int(np.minimum(count, len(target) - count)[classes].min())
    spread = value * (1 - value)
    images = min(max(spread / variance, fewest), len(target)) if variance > 0 else fewest
    low, high = wilson(value * images, images)[1:]
    return Score(value, min(low, value), max(high, value))


def _share_below(reference: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Share of ``reference`` below each value, those equal to it counted half; float (N,)."""
    ordered = np.sort(reference)
    twice = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return twice / (2 * len(ordered))
