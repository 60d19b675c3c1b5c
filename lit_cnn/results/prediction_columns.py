"""Columns of predictions.csv, and reading it, also as earlier versions wrote it.

file, true, predicted, correct, probability; then, of up to 100 classes, a column with the probability of each in the
order of class_indices.json, and of more, the five most probable classes: class_1, probability_1, class_2 and so on;
then prediction_set where the checkpoint has a threshold for it, and ood_score and ood where it can tell images that are
unlike its validation images. ``true`` and ``correct`` are empty without a label.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIXED = ("file", "true", "predicted", "correct", "probability")
SET = "prediction_set"  # classes joined by |
OOD = ("ood_score", "ood")  # cosine distance; true or false
LAST = (SET, *OOD)
MOST_COLUMNS = 100  # classes that have a column each


def class_columns(names: list[str]) -> list[str]:
    """Names of the classes' columns: ``class NAME`` for one that is called like another column."""
    return [f"class {name}" if name in (*FIXED, *LAST) else name for name in names]


@dataclass
class PredictionTable:
    """What predictions.csv says.

    Attributes:
        files: N names of images.
        true: N class names, empty without a label.
        predicted: N class names.
        probability: float (N,), of the predicted class.
        probs: float (N, K), in the order of ``names``; None where the file has only the most probable classes.
        names: K class names; empty without ``probs``.
    """

    files: list[str]
    true: list[str]
    predicted: list[str]
    probability: np.ndarray
    probs: np.ndarray | None
    names: list[str]


def read_predictions(path: Path) -> PredictionTable:
    """Read predictions.csv of any version.

    Raises:
        ValueError: it has not the columns.
    """
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        head, *rows = list(csv.reader(file))
    at = {name: column for column, name in reversed(list(enumerate(head)))}
    if missing := [name for name in ("file", "true", "predicted", "probability") if name not in at]:
        raise ValueError(f"{path} is no list of predictions: it has no column {missing[0]!r}")
    fixed = len(FIXED) if head[: len(FIXED)] == list(FIXED) else 0
    end = len(head)
    while end > fixed and head[end - 1] in LAST:
        end -= 1
    whole = fixed > 0 and head[fixed:][:2] != ["class_1", "probability_1"]
    names = [name.removeprefix("class ") if name[6:] in (*FIXED, *LAST) else name for name in head[fixed:end]]
    return PredictionTable(
        [row[at["file"]] for row in rows],
        [row[at["true"]] for row in rows],
        [row[at["predicted"]] for row in rows],
        np.array([float(row[at["probability"]]) for row in rows]),
        np.array([row[fixed:end] for row in rows], float).reshape(len(rows), end - fixed) if whole else None,
        names if whole else [],
    )
