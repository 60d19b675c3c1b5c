"""Results of images with any number of labels: scores, predictions.csv, metrics.json and a table. NumPy only."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from lit_cnn.results.predictions import Predictions
from lit_cnn.results.scores import LEVEL, Score, wilson
from lit_cnn.utils.files import atomic_write

THRESHOLD = 0.5  # a label is predicted above this probability
SEPARATOR = "|"  # of labels in a cell
MAX_ROWS = 20  # of a table in the terminal


class LabelScore(NamedTuple):
    """Scores of one label, in scikit-learn's definitions with ``zero_division=0``.

    Attributes:
        precision, recall, f1: of the images where it is predicted.
        average_precision: NaN where no image has the label.
        support: images that have it.
    """

    precision: float
    recall: float
    f1: float
    average_precision: float
    support: int


class LabelScores(NamedTuple):
    """Scores over all labels.

    Attributes:
        accuracy: share of images all of whose labels are right, with Wilson's interval.
        overall: by scikit-learn's names; ``average_precision_macro`` is over labels that some image has.
        labels: of each label.
    """

    accuracy: Score
    overall: dict[str, float]
    labels: list[LabelScore]


def average_precision(target: np.ndarray, score: np.ndarray) -> float:
    """Mean of the precision over the images that have a label, each at the recall that includes it.

    As scikit-learn's ``average_precision_score``: images of the same score count together.

    Args:
        target: bool (N,).
        score: float (N,), such as probabilities.
    """
    if not target.any():
        return math.nan
    order = np.argsort(-score, kind="stable")
    hits, ends = np.cumsum(target[order]), np.flatnonzero(np.diff(score[order], append=-np.inf))
    precision = hits[ends] / (ends + 1)
    return float((np.diff(hits[ends], prepend=0) * precision).sum() / hits[-1])


def label_scores(target: np.ndarray, probs: np.ndarray) -> LabelScores:
    """Scores of predictions.

    Args:
        target: 0 and 1, (N, K).
        probs: float (N, K).
    """
    true, predicted = target > 0, probs > THRESHOLD
    hits, asked, there = (true & predicted).sum(0), predicted.sum(0), true.sum(0)
    precision, recall, f1 = _share(hits, asked), _share(hits, there), _share(2 * hits, asked + there)
    labels = [
        LabelScore(
            float(precision[k]), float(recall[k]), float(f1[k]), average_precision(true[:, k], probs[:, k]), support
        )
        for k, support in enumerate(there.tolist())
    ]
    measured = [label.average_precision for label in labels if not math.isnan(label.average_precision)]
    overall = {
        "average_precision_macro": float(np.mean(measured)) if measured else math.nan,
        "f1_micro": float(_share(2 * hits.sum(), asked.sum() + there.sum())),
        "f1_macro": float(f1.mean()),
        "precision_macro": float(precision.mean()),
        "recall_macro": float(recall.mean()),
        "hamming_loss": float((true != predicted).mean()),
    }
    return LabelScores(wilson(int((true == predicted).all(1).sum()), len(true)), overall, labels)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, 0 where that is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0)


def _labels(names: list[str], row: np.ndarray) -> str:
    return SEPARATOR.join(name for name, there in zip(names, row, strict=True) if there)


def write_label_predictions(path: Path, files: list[str], names: list[str], found: Predictions) -> None:
    """Write one line an image: file, its labels and the predicted ones joined by ``|``, and the probability of each.

    Args:
        path: CSV to write.
        files: N names of images.
        names: K labels.
        found: target (N, K), negative where unknown, and probs (N, K).
    """
    with atomic_write(path, newline="", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        fixed = ("file", "true", "predicted", "correct")
        writer.writerow([*fixed, *(f"label {name}" if name in fixed else name for name in names)])
        for name, target, probs in zip(files, found["target"], found["probs"], strict=True):
            predicted, known = probs > THRESHOLD, target.min(initial=0) >= 0
            right = str(bool((predicted == (target > 0)).all())).lower() if known else ""
            true = _labels(names, target > 0) if known else ""
            writer.writerow([name, true, _labels(names, predicted), right, *(f"{p:.6f}" for p in probs.tolist())])


def write_label_metrics(
    out_dir: Path, names: list[str], scores: LabelScores, scalars: dict[str, float], images: int, skipped: int
) -> None:
    """Write metrics.json, class_indices.json and per_class.csv.

    Args:
        out_dir: Folder.
        names: K labels.
        scores: Of the images.
        scalars: Metrics by name.
        images: Number N of images.
        skipped: Number of images that could not be read.
    """
    content = {**dict(sorted(scalars.items())), "accuracy": scores.accuracy.value, **scores.overall}
    per_class = {name: label._asdict() for name, label in zip(names, scores.labels, strict=True)}
    ends = {"accuracy": [scores.accuracy.low, scores.accuracy.high]}
    about = {"images": images, "skipped_images": skipped, "threshold": THRESHOLD, "confidence_level": LEVEL}
    whole = {**content, **about, "confidence_intervals": ends, "per_class": per_class}
    for name, value in (("metrics.json", whole), ("class_indices.json", dict(enumerate(names)))):
        with atomic_write(out_dir / name) as file:
            json.dump(_plain(value), file, indent=2, allow_nan=False)
            file.write("\n")
    with atomic_write(out_dir / "per_class.csv", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", "images", *LabelScore._fields[:-1]])
        for name, label in zip(names, scores.labels, strict=True):
            writer.writerow([name, label.support, *("" if math.isnan(x) else f"{x:.6f}" for x in label[:-1])])


def _plain(value: object) -> object:
    """NaN as null, which JSON has."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def label_table(split: str, names: list[str], scores: LabelScores, images: int, skipped: int) -> Table:
    """Scores of all labels, then of each; of many, those with the lowest average precision."""
    table = _table(f"{split}: {images:,} images" + (f", {skipped:,} skipped" if skipped else ""))
    for head in ("", "precision", "recall", "F1", "AP", "images"):
        table.add_column(head, justify="right" if head else "left", overflow="fold")
    overall, right = scores.overall, scores.accuracy
    cells = [f"{overall[name]:.3f}" for name in ("precision_macro", "recall_macro", "f1_macro")]
    table.add_row("mean of all labels", *cells, f"{overall['average_precision_macro']:.3f}", f"{images:,}")
    table.add_section()
    order = sorted(range(len(names)), key=lambda k: (math.isnan(scores.labels[k].average_precision), k))
    if len(names) > MAX_ROWS:
        order = sorted(order, key=lambda k: scores.labels[k].average_precision)[:MAX_ROWS]
    for k in order:
        label = scores.labels[k]
        numbers = ["-" if math.isnan(value) else f"{value:.3f}" for value in label[:-1]]
        table.add_row(Text(names[k]), *numbers, f"{label.support:,}")
    shown = f"all labels right: {right.value:.3f} ({right.low:.2f}-{right.high:.2f})"
    table.caption = f"{shown}; F1 over all labels: {overall['f1_micro']:.3f}"
    return table


def label_predictions_table(files: list[str], names: list[str], found: Predictions, skipped: int) -> Table:
    """The first images with their predicted labels, and the most probable one that is not predicted."""
    table = _table(f"{len(files):,} predictions" + (f", {skipped:,} skipped" if skipped else ""))
    if len(files) > MAX_ROWS:
        table.caption = f"and {len(files) - MAX_ROWS:,} more in predictions.csv"
    for head in ("file", "labels", "next"):
        table.add_column(head, overflow="fold")
    for name, probs in zip(files[:MAX_ROWS], found["probs"], strict=False):
        order = np.argsort(-probs, kind="stable")
        told = [f"{names[k]} {probs[k]:.2f}" for k in order if probs[k] > THRESHOLD]
        others = [f"{names[k]} {probs[k]:.2f}" for k in order if probs[k] <= THRESHOLD][:1]
        table.add_row(Text(name), Text(", ".join(told) or "none"), Text(", ".join(others)))
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE, show_edge=False)
