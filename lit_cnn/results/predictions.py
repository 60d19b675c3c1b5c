"""predictions.csv: classes and probabilities of each image."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lit_cnn.results.calibration import sets
from lit_cnn.results.prediction_columns import FIXED, MOST_COLUMNS, OOD, SET, class_columns
from lit_cnn.utils.files import atomic_write

# Arrays by name: index (N,), target (N,), prob (N, top) and label (N, top), most probable first; probs (N, K) where
# there are not too many classes; ood_score (N,) and ood, bool (N,), where the checkpoint has a detector.
Predictions = dict[str, np.ndarray]


def write_predictions(
    path: Path, files: list[str], names: list[str], found: Predictions, threshold: float = 0.0
) -> None:
    """Write one line an image, in the columns that :mod:`~lit_cnn.results.prediction_columns` describes.

    Args:
        path: CSV to write.
        files: N names of images.
        names: K class names.
        found: targets below 0 are unknown.
        threshold: of the set of classes of each image; 0: none is written.
    """
    whole = "probs" in found and len(names) <= MOST_COLUMNS
    with atomic_write(path, newline="", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        best = [f"{kind}_{rank}" for rank in range(1, found["prob"].shape[1] + 1) for kind in ("class", "probability")]
        with_sets = [SET] if threshold > 0 and whole else []
        with_ood = OOD if "ood" in found else ()
        writer.writerow([*FIXED, *(class_columns(names) if whole else best), *with_sets, *with_ood])
        probs = found["probs"] if whole else itertools.repeat(np.empty(0))
        ranks = zip(files, found["target"].tolist(), ranked(names, found), probs, strict=False)
        for i, (name, target, classes, row) in enumerate(ranks):
            (label, prob), known = classes[0], target >= 0
            true = names[target] if known else ""
            cells = row.tolist() if whole else [cell for pair in classes for cell in pair]
            line = [name, true, label, str(true == label).lower() if known else "", prob, *cells]
            written = [f"{cell:.6f}" if isinstance(cell, float) else cell for cell in line]
            written += ["|".join(members(names, row, threshold))] if with_sets else []
            written += [f"{found['ood_score'][i]:.6f}", str(bool(found["ood"][i])).lower()] if with_ood else []
            writer.writerow(written)


def members(names: list[str], probs: np.ndarray, threshold: float) -> list[str]:
    """The classes of an image's set, most probable first.

    Args:
        names: K class names.
        probs: float (K,).
        threshold: see :func:`~lit_cnn.results.calibration.sets`.
    """
    inside = sets(probs[None], threshold)[0]
    return [names[k] for k in np.argsort(-probs, kind="stable") if inside[k]]


def shown_classes(names: list[str], found: Predictions) -> Iterator[list[str]]:
    """Yield for each image what to write on it: its class and probability, or of several labels, all above one half."""
    if found["target"].ndim == 2:
        for probs in found["probs"]:
            yield [f"{names[k]} {probs[k]:.2f}" for k in np.flatnonzero(probs > 0.5)] or ["none"]
        return
    for (label, prob), *_ in ranked(names, found):
        yield [f"{label} {prob:.2f}"]


def ranked(names: list[str], found: Predictions) -> Iterator[list[tuple[str, float]]]:
    """Yield for each image its most probable classes with their probabilities."""
    for labels, probs in zip(found["label"].tolist(), found["prob"].tolist(), strict=True):
        yield [(names[label], prob) for label, prob in zip(labels, probs, strict=True)]
