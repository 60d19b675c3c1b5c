"""All scores of an evaluation, from its confusion matrix and its predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from lit_cnn.results import calibration
from lit_cnn.results.calibration import Calibration
from lit_cnn.results.error_intervals import error_scores
from lit_cnn.results.predictions import Predictions
from lit_cnn.results.ranking import roc_auc, top_k_accuracy
from lit_cnn.results.scores import ClassScores, Score, class_scores, overall_scores, wilson


@dataclass
class Evaluation:
    """Scores of an evaluation.

    Attributes:
        overall: by scikit-learn's names, with 95% intervals.
        classes: of each class.
        errors: of the probabilities (those with an interval are in ``overall`` too), and others, by name.
    """

    overall: dict[str, Score] = field(default_factory=dict)
    classes: list[ClassScores] = field(default_factory=list)
    errors: dict[str, float] = field(default_factory=dict)


def evaluate(counts: np.ndarray, found: Predictions, chosen: Calibration | None = None) -> Evaluation:
    """Measure all that the predictions allow.

    Args:
        counts: int (K, K), true classes on rows.
        found: target (N,) and label (N, top); with probs and raw (N, K), after and before the temperature, also AUROC,
            ECE, Brier score, log loss, and the coverage of the sets.
        chosen: temperature and threshold.
    """
    overall, classes = overall_scores(counts), class_scores(counts)
    known = found["target"] >= 0
    result = Evaluation(overall, classes)
    if not known.any():
        return result
    if len(counts) > 5 and found["label"].shape[1] >= 5:
        overall["top_5_accuracy"] = top_k_accuracy(found["target"], found["label"][:, :5])
    if "probs" not in found or not np.isfinite(found["probs"]).all():  # a network that has diverged
        return result
    target, probs = found["target"][known], found["probs"][known]
    overall["roc_auc_ovr"] = roc_auc(target, probs)
    errors = result.errors
    for name, score in error_scores(target, probs).items():
        overall[name], errors[name] = score, score.value
    if chosen is not None and chosen.images:
        if chosen.temperature != 1:
            errors["ece_raw"] = calibration.ece(target, found["raw"][known])
        errors["temperature"] = chosen.temperature
        if chosen.threshold > 0:
            inside = calibration.sets(probs, chosen.threshold)
            hits = inside[np.arange(len(target)), target]
            overall["set_coverage"] = wilson(float(hits.sum()), len(hits))
            errors["set_size"] = float(inside.sum(1).mean())
    return result


def digits_of(score: Score) -> int:
    """Decimals that an interval is worth: 2, or up to 4 for a narrow one."""
    digits = 2
    while digits < 4 and score.high - score.low < 3 * 10.0**-digits:
        digits += 1
    return digits


def format_score(score: Score, digits: int | None = None) -> str:
    """``0.778 (0.55-0.91)``: the ends with ``digits`` decimals, by default as many as they are worth."""
    if math.isnan(score.value):
        return "-"
    digits = digits or digits_of(score)
    return f"{score.value:.{min(digits + 1, 4)}f} ({score.low:.{digits}f}-{score.high:.{digits}f})"


def what_it_tells(accuracy: Score, images: int) -> str:
    """One sentence on how well an accuracy is known from so many images."""
    points = 50 * (accuracy.high - accuracy.low)
    shown = f"{points:.0f}" if points >= 2 else f"{points:.1f}"
    return (
        f"{images:,} {'image tells' if images == 1 else 'images tell'} the accuracy to about {shown} points either way "
        "(95%); four times as many would halve that."
    )
