"""metrics.json and class_indices.json of an evaluation, and its confusion matrices."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from lit_cnn.results.confusion import plot_confusion, write_confusion
from lit_cnn.results.curves import why_no_figures
from lit_cnn.results.evaluation import Evaluation
from lit_cnn.results.scores import LEVEL
from lit_cnn.utils.console import say
from lit_cnn.utils.files import atomic_write

PER_CLASS = "per_class.csv"


def write_metrics(
    out_dir: Path,
    names: list[str],
    counts: np.ndarray,
    scalars: dict[str, float],
    skipped: int,
    result: Evaluation | None = None,
) -> None:
    """Write metrics.json and class_indices.json, and with scores, per_class.csv.

    Args:
        out_dir: folder.
        names: K class names.
        counts: int64 (K, K), true classes on rows.
        scalars: metrics by name.
        skipped: number of images that could not be read.
        result: scores with their intervals.
    """
    accuracy, support = per_class_accuracy(counts)
    classes: dict[str, dict[str, Any]] = {
        n: {"accuracy": _plain(accuracy[i]), "images": int(support[i])} for i, n in enumerate(names)
    }
    content: dict[str, Any] = {name: _plain(value) for name, value in sorted(scalars.items())}
    images: dict[str, Any] = {"images": int(support.sum()), "skipped_images": skipped}
    if result is not None:
        content |= {name: _plain(score.value) for name, score in result.overall.items()}
        content |= {name: _plain(value) for name, value in result.errors.items()}
        ends = {name: [_plain(score.low), _plain(score.high)] for name, score in result.overall.items()}
        images |= {"confidence_level": LEVEL, "confidence_intervals": ends}
        for name, scores in zip(names, result.classes, strict=True):
            row = {"precision": scores.precision, "recall": scores.recall, "f1-score": scores.f1}
            classes[name] |= {key: _plain(score.value) for key, score in row.items()}
            classes[name]["support"] = scores.support
            classes[name]["confidence_intervals"] = {k: [_plain(s.low), _plain(s.high)] for k, s in row.items()}
        _write_per_class(out_dir / PER_CLASS, names, result)
    _write_json(out_dir / "metrics.json", {**content, **images, "per_class": classes})
    _write_json(out_dir / "class_indices.json", {str(index): name for index, name in enumerate(names)})


def _write_per_class(path: Path, names: list[str], result: Evaluation) -> None:
    """One line a class: precision, recall and F1, each with the ends of its interval; empty where undefined."""
    kinds = ("precision", "recall", "f1")
    with atomic_write(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", "images", *(f"{kind}{end}" for kind in kinds for end in ("", "_low", "_high"))])
        for name, scores in zip(names, result.classes, strict=True):
            numbers = [value for kind in kinds for value in getattr(scores, kind)]
            cells = [f"{value:.6f}" if math.isfinite(value) else "" for value in numbers]
            writer.writerow([name, scores.support, *cells])


def write_confusions(out_dir: Path, names: list[str], counts: np.ndarray, split: str, normalized: bool = True) -> None:
    """Write the confusion matrix as a table, and as figures of counts and of shares of the true class, if possible.

    Args:
        out_dir: folder.
        names: K class names.
        counts: int64 (K, K), true classes on rows.
        split: named in the titles.
        normalized: draw the shares too.
    """
    total = int(counts.sum())
    title = f"{split}: {total:,} images, accuracy {np.trace(counts) / max(total, 1):.4f}"
    write_confusion(counts, names, out_dir / "confusion_matrix.csv")
    if reason := why_no_figures():
        say(f"confusion_matrix.png was not drawn: {reason}", error=True)
        return
    plot_confusion(counts, names, out_dir / "confusion_matrix.png", title)
    if normalized:
        plot_confusion(counts, names, out_dir / "confusion_matrix_normalized.png", title, normalize=True)


def per_class_accuracy(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy (K,), NaN where a class has no image, and number of images (K,) of each true class."""
    support = counts.sum(axis=1)
    return np.where(support > 0, np.diag(counts) / np.maximum(support, 1), np.nan), support


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
