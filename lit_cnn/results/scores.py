"""Scores of a classifier from its confusion matrix, with 95% intervals, in scikit-learn's definitions. NumPy only.

Shares of images (accuracy, recall, precision) get Wilson's interval, all other scores a bias-corrected bootstrap
that resamples the images of each true class (stratified).
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
RESAMPLES = 2_000
CHUNK = 200  # resamples at a time, which bounds the memory: 100 MB for 10,000 images


class Score(NamedTuple):
    """A score with its interval.

    Attributes:
        value: NaN where nothing was measured.
        low, high: ends of the interval.
    """

    value: float
    low: float
    high: float


class ClassScores(NamedTuple):
    """Scores of one class, as in scikit-learn's ``classification_report``.

    Attributes:
        precision: share of the images predicted as this class that are of it.
        recall: share of the images of this class that were predicted as it: its accuracy.
        f1: harmonic mean of the two.
        support: images of the class.
    """

    precision: Score
    recall: Score
    f1: Score
    support: int


def wilson(successes: float, trials: float) -> Score:
    """Wilson's score interval of a share (Wilson, 1927), without continuity correction.

    It never leaves [0, 1], and is honest for few images, where the normal approximation is not.
    """
    if trials <= 0:
        return Score(float("nan"), float("nan"), float("nan"))
    share, spread = successes / trials, Z * Z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * np.sqrt(share * (1 - share) / trials + Z * Z / (4 * trials * trials))
    # exactly 0 and 1 at the ends, which rounding would miss
    low = 0.0 if successes == 0 else float(centre - half)
    return Score(share, low, 1.0 if successes == trials else float(centre + half))


def overall_scores(counts: np.ndarray, seed: int = 0) -> dict[str, Score]:
    """Scores over all classes.

    ``accuracy``, ``balanced_accuracy``, ``precision_macro``, ``recall_macro``, ``f1_macro``, the same ``_weighted``,
    and ``cohen_kappa``, as scikit-learn's functions of these names with ``zero_division=0`` compute them: averages are
    over the classes that occur among true or predicted ones, of the balanced accuracy over true ones.

    Args:
        counts: int (K, K), true classes on rows.
        seed: of the resamples.

    Returns:
        Scores by name; none where there are no images.
    """
    counts = np.asarray(counts)
    total = int(counts.sum())
    if total == 0:
        return {}
    seen = (counts.sum(0) + counts.sum(1)) > 0
    counts = counts[np.ix_(seen, seen)]
    support = counts.sum(1)
    values = _averages(np.diag(counts)[None], counts.sum(0)[None], support)
    resampled = [_averages(*drawn, support) for drawn in _resample(counts, seed)]
    scores = {"accuracy": wilson(float(np.trace(counts)), total)}
    alike = _images_alike(support)
    for name, value in values.items():
        score = bootstrap_interval(float(value[0]), np.concatenate([part[name] for part in resampled]))
        if name == "cohen_kappa":
            chance = float(counts.sum(0) @ support) / total**2
            scores[name] = _with_width(score, scores["accuracy"], 1 - chance)
        else:
            images = total if name.endswith("_weighted") else alike
            scores[name] = _with_width(score, wilson(score.value * images, images))
    return scores


def _images_alike(support: np.ndarray) -> float:
    """Images of a share whose standard error is that of the mean of the classes' shares."""
    support = support[support > 0]
    return float(len(support) ** 2 / (1 / support).sum()) if len(support) else 0.0


def _with_width(score: Score, share: Score, scale: float = 1.0) -> Score:
    """The score, with the width of a share's interval over ``scale`` where the bootstrap's has none.

    Resamples of images that are all right, or all wrong, do not differ: that is no certainty.
    """
    if not score.high - score.low <= 1e-9 or scale <= 0:  # NaN has none either
        return score
    low, high = score.value - (share.value - share.low) / scale, score.value + (share.high - share.value) / scale
    return Score(score.value, max(-1.0, float(low)), min(1.0, float(high)))


def class_scores(counts: np.ndarray, seed: int = 0) -> list[ClassScores]:
    """Scores of each class; NaN where it has no image, or for the precision, was never predicted.

    Args:
        counts: int (K, K), true classes on rows.
        seed: of the resamples.
    """
    counts = np.asarray(counts)
    hits, predicted, support = np.diag(counts), counts.sum(0), counts.sum(1)
    f1 = np.where(support > 0, _f1(hits, predicted, support), np.nan)
    resampled = np.concatenate([_f1(*drawn, support) for drawn in _resample(counts, seed)]) if len(counts) else f1
    return [
        ClassScores(
            wilson(float(hits[k]), float(predicted[k])),
            wilson(float(hits[k]), float(support[k])),
            _with_width(bootstrap_interval(float(f1[k]), resampled[:, k]), wilson(float(hits[k]), float(support[k]))),
            int(support[k]),
        )
        for k in range(len(counts))
    ]


Resamples = tuple[np.ndarray, np.ndarray]  # correct and predicted images of each class, int (R, K), in R resamples
_NORMAL = NormalDist()
Z = _NORMAL.inv_cdf((1 + LEVEL) / 2)


def bootstrap_interval(value: float, resampled: np.ndarray) -> Score:
    """Bias-corrected percentile interval of resampled scores (R,) (Efron, 1981).

    A resample lacks images of rare classes, so that most of its macro F1 scores are below that of all images; plain
    percentiles would lie too low.
    """
    if np.isnan(value):
        return Score(value, value, value)
    below = ((resampled < value).mean() + (resampled <= value).mean()) / 2
    bias = _NORMAL.inv_cdf(min(max(float(below), 1 / len(resampled)), 1 - 1 / len(resampled)))
    ends = [100 * _NORMAL.cdf(2 * bias + z) for z in (-Z, Z)]
    low, high = np.percentile(resampled, ends)
    return Score(value, float(min(low, value)), float(max(high, value)))


def _resample(counts: np.ndarray, seed: int) -> Iterator[Resamples]:
    """Draw the images of each true class anew, with replacement, some resamples at a time."""
    rng = np.random.default_rng(seed)
    # drawing a cell of the matrix costs about four times as much as drawing an image
    draw = _draw_cells if 4 * np.count_nonzero(counts) < counts.sum() else _draw_images
    for start in range(0, RESAMPLES, CHUNK):
        yield draw(counts, rng, min(CHUNK, RESAMPLES - start))


def _draw_cells(counts: np.ndarray, rng: np.random.Generator, size: int) -> Resamples:
    """Draw each row from the multinomial distribution of its counts: the same as drawing its images."""
    hits, predicted = np.zeros((size, len(counts)), np.int64), np.zeros((size, len(counts)), np.int64)
    for k in np.flatnonzero(counts.sum(1)):
        columns = np.flatnonzero(counts[k])
        drawn = rng.multinomial(counts[k].sum(), counts[k, columns] / counts[k].sum(), size=size)
        predicted[:, columns] += drawn
        hits[:, k] = drawn[:, columns == k].sum(1)
    return hits, predicted


def _draw_images(counts: np.ndarray, rng: np.random.Generator, size: int) -> Resamples:
    """Draw images one by one: many classes have about as many cells as images."""
    number, support = len(counts), counts.sum(1)
    row, column = np.nonzero(counts)
    predicted = np.repeat(column, counts[row, column])  # of each image, by true class
    target = np.repeat(np.arange(number), support)
    first = np.repeat(np.cumsum(support) - support, support)
    drawn = predicted[first + (rng.random((size, len(target))) * support[target]).astype(np.int64)]
    block = np.arange(size)[:, None] * number
    correct = (block + target)[drawn == target]
    hits, labels = (np.bincount(cells, minlength=size * number) for cells in (correct, (block + drawn).ravel()))
    return hits.reshape(size, number), labels.reshape(size, number)


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The quotient, 0 where it is undefined (``zero_division=0``)."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)


def _f1(hits: np.ndarray, predicted: np.ndarray, support: np.ndarray) -> np.ndarray:
    return _divide(2.0 * hits, (predicted + support).astype(float))


def _averages(hits: np.ndarray, predicted: np.ndarray, support: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (R,) of R confusion matrices: correct (R, K), predicted (R, K) and true images (K,) of each class."""
    total = support.sum()
    recall = _divide(hits.astype(float), np.broadcast_to(support, hits.shape))
    parts = {
        "precision": _divide(hits.astype(float), predicted),
        "recall": recall,
        "f1": _f1(hits, predicted, support),
    }
    seen = (predicted > 0) | (support > 0)
    scores = {"balanced_accuracy": recall[:, support > 0].mean(1)}
    for name, value in parts.items():
        scores[f"{name}_macro"] = value.sum(1) / seen.sum(1)
    for name, value in parts.items():
        scores[f"{name}_weighted"] = (value * support).sum(1) / total
    agreed, by_chance = hits.sum(1) / total, (predicted * support).sum(1) / float(total) ** 2
    with np.errstate(invalid="ignore"):  # a single class, always right: undefined, as in scikit-learn
        scores["cohen_kappa"] = (agreed - by_chance) / (1 - by_chance)
    return scores
