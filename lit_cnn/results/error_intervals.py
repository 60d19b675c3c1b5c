"""Errors of the probabilities with 95% intervals: log loss, Brier score and calibration error. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lit_cnn.results import calibration
from lit_cnn.results.scores import CHUNK, RESAMPLES, Score, bootstrap_interval


def error_scores(target: np.ndarray, probs: np.ndarray, seed: int = 0) -> dict[str, Score]:
    """Log loss, Brier score and ECE, under scikit-learn's names (``ece`` has none), with bootstrap intervals.

    The images of each true class are drawn anew, as for the other scores. All three errors are functions of means over
    images (the ECE of those of its bins), so that a resample needs only how often each image was drawn.

    Args:
        target: int (N,), true classes.
        probs: float (N, K).
        seed: of the resamples.
    """
    sums = _columns(target, probs)
    drawn = np.concatenate([weights @ sums for weights in _weights(target, seed)]) / len(target)
    values = {
        "log_loss": calibration.log_loss(target, probs),
        "brier_score_loss": calibration.brier_score_loss(target, probs),
        "ece": calibration.ece(target, probs),
    }
    resampled = (drawn[:, 0], drawn[:, 1], np.abs(drawn[:, 2:]).sum(1))
    return {
        name: bootstrap_interval(value, each) for (name, value), each in zip(values.items(), resampled, strict=True)
    }


def _columns(target: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """What each image adds, float (N, 2 + BINS): log loss, Brier score, and confidence less accuracy in its bin."""
    bins = calibration.confidence_bins(probs)
    found = np.zeros((len(target), 2 + calibration.BINS))
    found[:, 0] = calibration.log_losses(target, probs)
    found[:, 1] = calibration.brier_scores(target, probs)
    found[np.arange(len(target)), 2 + bins] = probs.max(1) - (probs.argmax(1) == target)
    return found


def _weights(target: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn, float (R, N), for some resamples at a time."""
    rng = np.random.default_rng(seed)
    order = np.argsort(target, kind="stable")
    support = np.bincount(target)[target[order]]  # of each image's class
    first = np.searchsorted(target[order], target[order])
    for start in range(0, RESAMPLES, CHUNK):
        size = min(CHUNK, RESAMPLES - start)
        picked = first + (rng.random((size, len(target))) * support).astype(np.int64)
        cells = np.arange(size)[:, None] * len(target) + order[picked]
        yield np.bincount(cells.ravel(), minlength=size * len(target)).reshape(size, -1).astype(float)
