"""An evaluation of a run, read from its folder: scores, confusion matrix, predictions and pictures."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_cnn.results.calibration import Reliability, reliability
from lit_cnn.results.confusion import confusion_counts
from lit_cnn.results.evaluation import evaluate
from lit_cnn.results.gallery import ARCHIVE, Gallery, read_gallery
from lit_cnn.results.label_check import suspicious_labels
from lit_cnn.results.prediction_columns import read_predictions
from lit_cnn.results.scores import Score, wilson

SPLITS = {"test": "test", "validate": "validation", "val": "validation"}  # folders, the ones shown first
SURE = 0.8  # probability of another class, from which a label is doubted


@dataclass
class Evaluated:
    """An evaluation with one label an image.

    Attributes:
        folder: its folder.
        split: test or validation.
        names: K class names.
        files: N names of images.
        target: int (N,), -1 without a label.
        predicted: int (N,).
        probability: float (N,), of the predicted class.
        counts: int (K, K), true classes on rows.
        scores: by scikit-learn's names.
        errors: of the probabilities, by name.
        classes: of each class: images, and precision, recall and F1.
        bins: accuracy by confidence; None without all probabilities.
        suspicious: rows whose label looks wrong, the likeliest first.
        gallery: pictures.
    """

    folder: Path
    split: str
    names: list[str]
    files: list[str]
    target: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    counts: np.ndarray
    scores: dict[str, Score]
    errors: dict[str, float]
    classes: list[tuple[int, Score, Score, Score]]
    bins: Reliability | None
    suspicious: list[int]
    gallery: Gallery

    @property
    def accuracy(self) -> Score:
        """With Wilson's interval."""
        return wilson(float(np.trace(self.counts)), float(self.counts.sum()))


def newest_evaluation(run: Path) -> Path | None:
    """The folder of the newest test with scores, else validation; None where there is none."""
    for name in SPLITS:
        found = [path.parent for path in run.glob(f"{name}*/metrics.json") if path.parent.name.split("_")[0] == name]
        if found:
            return max(found, key=lambda folder: (folder / "metrics.json").stat().st_mtime)
    return None


def read_evaluation(folder: Path) -> Evaluated | None:
    """Read an evaluation; None where its files are not those of images with one label each, or are damaged."""
    try:
        table = read_predictions(folder / "predictions.csv")
        metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        names = _class_names(folder, [*table.names, *table.true, *table.predicted])
    except (OSError, ValueError, KeyError, IndexError):
        return None
    number = {name: i for i, name in enumerate(names)}
    if not set(table.predicted) <= number.keys() or not set(table.true) - {""} <= number.keys() or not table.files:
        return None  # several labels an image, joined in a cell
    target = np.array([number.get(name, -1) for name in table.true])
    predicted = np.array([number[name] for name in table.predicted])
    if not (target >= 0).any():
        return None
    counts = confusion_counts(target, predicted, len(names))
    found = {"target": target, "label": predicted[:, None]}
    probs = table.probs if table.names == names else None
    if probs is not None:
        found |= {"probs": probs, "raw": probs}
    result = evaluate(counts, found)
    stored = {name: (float(metrics[name]), *map(float, ends)) for name, ends in _intervals(metrics).items()}
    errors = {
        name: float(metrics[name]) for name in ("ece_raw", "temperature", "set_size") if _is_number(metrics, name)
    }
    known = target >= 0
    return Evaluated(
        folder,
        SPLITS[folder.name.split("_")[0]],
        names,
        table.files,
        target,
        predicted,
        table.probability,
        counts,
        result.overall | {name: Score(*values) for name, values in stored.items()},
        result.errors | errors,
        [(each.support, each.precision, each.recall, each.f1) for each in result.classes],
        reliability(target[known], probs[known]) if probs is not None else None,
        _suspicious(target, probs),
        read_gallery(folder / ARCHIVE),
    )


def _class_names(folder: Path, used: list[str]) -> list[str]:
    """Class names by index; of a folder that lacks them, those that occur."""
    with contextlib.suppress(OSError):
        content = json.loads((folder / "class_indices.json").read_text(encoding="utf-8"))
        return [content[str(i)] for i in range(len(content))]
    return sorted(set(used) - {""})


def _intervals(metrics: dict[str, Any]) -> dict[str, list[float]]:
    found = metrics.get("confidence_intervals") or {}
    return {name: ends for name, ends in found.items() if _is_number(metrics, name) and None not in ends}


def _is_number(metrics: dict[str, Any], name: str) -> bool:
    return isinstance(metrics.get(name), (int, float))


def _suspicious(target: np.ndarray, probs: np.ndarray | None) -> list[int]:
    """Rows whose label looks wrong to the network, which has not been trained on them and is sure of another class."""
    if probs is None:
        return []
    known = np.flatnonzero(target >= 0)
    rows, looks = suspicious_labels(probs[known], target[known])
    return [int(known[row]) for row, k in zip(rows, looks, strict=True) if probs[known[row], k] >= SURE]
