"""How far a classifier's probabilities can be believed: calibration errors, a temperature, sets of classes. NumPy only.

A temperature T (Guo et al., 2017) divides the logits: probabilities become ``p**(1/T)``, normalized, in the same order.
Sets of classes are split conformal ones (Sadinle, Lei and Wasserman, 2019): all classes at least as probable as a
threshold, which is chosen so that 90 of 100 images like those it was chosen on have their class in their set; the most
probable class is always in it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

BINS = 15  # of the confidence, equally wide
COVERAGE = 0.9  # of the sets
_FEWEST = 5  # images to fit a temperature to
_LARGEST = 3.0  # absolute logarithm of a temperature


class Calibration(NamedTuple):
    """What validation images say about the probabilities. Kept in checkpoints.

    Attributes:
        temperature: 1 leaves the probabilities as they are.
        threshold: classes at least as probable, after the temperature, form an image's set; 0: all classes.
        images: validation images that both were chosen on; 0 where there were none.
    """

    temperature: float = 1.0
    threshold: float = 0.0
    images: int = 0


class Reliability(NamedTuple):
    """Images by confidence, the probability of the predicted class; each array (BINS,).

    Attributes:
        confidence: mean, NaN in an empty bin.
        accuracy: share of right predictions, NaN in an empty bin.
        images: their number.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    images: np.ndarray


def calibrate(target: np.ndarray, probs: np.ndarray) -> Calibration:
    """Choose a temperature and a threshold on validation images.

    Args:
        target: int (N,); below 0: unknown, not used.
        probs: float (N, K), as the network gives them; images with NaN are not used.
    """
    known = (target >= 0) & np.isfinite(probs).all(1)
    target, probs = target[known], probs[known]
    if len(target) < _FEWEST:
        return Calibration(images=0)
    temperature = fit_temperature(target, probs)
    scaled = with_temperature(probs, temperature)
    return Calibration(temperature, conformal_threshold(target, scaled), len(target))


def fit_temperature(target: np.ndarray, probs: np.ndarray) -> float:
    """The temperature with the lowest log loss, drawn towards 1 where few images leave it open.

    The log loss of N images is joined by a standard normal prior of the temperature's logarithm: with 20 images that
    are all classified rightly, the log loss alone would ask for a temperature of 0.
    """
    logs = np.log(np.maximum(probs.astype(np.float64), np.finfo(np.float32).tiny))
    logs -= logs.max(1, keepdims=True)
    own = logs[np.arange(len(target)), target]

    def loss(log_t: float) -> float:
        scale = math.exp(-log_t)
        fit = np.log(np.exp(logs * scale).sum(1)).sum() - scale * own.sum()
        return float(fit) + log_t**2 / 2

    # golden-section search: the loss has one minimum
    ratio = (math.sqrt(5) - 1) / 2
    low, high = -_LARGEST, _LARGEST
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-4:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return math.exp((low + high) / 2)


def with_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N, K), float32, after a temperature; untouched where it is 1."""
    if temperature == 1:
        return probs
    logs = np.log(np.maximum(probs.astype(np.float64), np.finfo(np.float32).tiny))
    scaled = np.exp((logs - logs.max(1, keepdims=True)) / temperature)
    return (scaled / scaled.sum(1, keepdims=True)).astype(np.float32)


def conformal_threshold(target: np.ndarray, probs: np.ndarray, coverage: float = COVERAGE) -> float:
    """The probability that classes of an image's set reach at least; 0, which is all classes, with too few images."""
    own = np.sort(probs[np.arange(len(target)), target])
    below = math.floor((len(own) + 1) * (1 - coverage) + 1e-9)  # images that may be left out, and one for the new image
    return float(own[below - 1]) if below else 0.0


def sets(probs: np.ndarray, threshold: float) -> np.ndarray:
    """The classes of each image's set, bool (N, K): those that reach the threshold, and always the most probable one.

    Without the latter, a classifier that is right more often than the sets ought to be would leave some sets empty.
    """
    inside = probs >= threshold
    inside[np.arange(len(probs)), probs.argmax(1)] = True
    return inside


def ece(target: np.ndarray, probs: np.ndarray) -> float:
    """Expected calibration error (Naeini et al., 2015) of the predicted class, with 15 bins of equal width."""
    found = reliability(target, probs)
    gaps = np.nan_to_num(np.abs(found.confidence - found.accuracy))
    return float((gaps * found.images).sum() / found.images.sum())


def reliability(target: np.ndarray, probs: np.ndarray) -> Reliability:
    """Accuracy by confidence, in bins that are open on the left: (0, 1/15], (1/15, 2/15] and so on."""
    confidence = probs.max(1).astype(np.float64)
    right = probs.argmax(1) == target
    bins = confidence_bins(probs)
    images = np.bincount(bins, minlength=BINS)
    empty = np.where(images > 0, images, np.nan)
    sums = (np.bincount(bins, values, BINS) for values in (confidence, right.astype(float)))
    mean, accuracy = (total / empty for total in sums)
    return Reliability(mean, accuracy, images)


def confidence_bins(probs: np.ndarray) -> np.ndarray:
    """The bin of each image, int (N,), by the probability of its predicted class."""
    return np.clip(np.ceil(probs.max(1).astype(np.float64) * BINS).astype(int) - 1, 0, BINS - 1)


def log_losses(target: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Negative logarithm of each image's probability of its true class, float64 (N,)."""
    own = probs[np.arange(len(target)), target].astype(np.float64)
    return -np.log(np.clip(own, np.finfo(probs.dtype).eps, 1))


def log_loss(target: np.ndarray, probs: np.ndarray) -> float:
    """Mean of the log losses, as scikit-learn's ``log_loss``."""
    return float(log_losses(target, probs).mean())


def brier_scores(target: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Squared error of each image's probabilities, float64 (N,), halved for two classes."""
    wide = probs.astype(np.float64)
    own = wide[np.arange(len(target)), target]
    squares = (wide**2).sum(1) - own**2 + (1 - own) ** 2
    return squares / (2 if probs.shape[1] == 2 else 1)


def brier_score_loss(target: np.ndarray, probs: np.ndarray) -> float:
    """Mean squared error of the probabilities, as scikit-learn's ``brier_score_loss``."""
    return float(brier_scores(target, probs).mean())
