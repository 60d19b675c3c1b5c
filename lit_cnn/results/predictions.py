"""predictions.csv: the most probable classes of each image."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lit_cnn.utils.files import atomic_write

# Arrays by name: index (N,), target (N,), prob (N, top) and label (N, top), most probable first.
Predictions = dict[str, np.ndarray]


def write_predictions(path: Path, files: list[str], names: list[str], found: Predictions) -> None:
    """Write one line an image: file, true and predicted class, its probability, then the top classes.

    Args:
        path: CSV to write.
        files: N names of images.
        names: K class names.
        found: targets below 0 are unknown.
    """
    top = found["prob"].shape[1]
    with atomic_write(path, newline="", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        best = [f"{kind}_{rank}" for rank in range(1, top + 1) for kind in ("class", "probability")]
        writer.writerow(["file", "true", "predicted", "probability", *best])
        for name, target, classes in zip(files, found["target"], ranked(names, found), strict=True):
            cells = [cell for label, prob in classes for cell in (label, f"{prob:.6f}")]
            writer.writerow([name, names[target] if target >= 0 else "", *cells[:2], *cells])


def ranked(names: list[str], found: Predictions) -> Iterator[list[tuple[str, float]]]:
    """Yield for each image its most probable classes with their probabilities."""
    for labels, probs in zip(found["label"].tolist(), found["prob"].tolist(), strict=True):
        yield [(names[label], prob) for label, prob in zip(labels, probs, strict=True)]
