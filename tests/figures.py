"""Blank figures: drawing them takes half of a short run's time, and most tests do not check them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lit_cnn.callbacks import curves, evaluation
from lit_cnn.results import metrics_json


def _pixel(path: Any) -> None:
    Image.new("L", (1, 1)).save(path, "PNG")


def _curves(csv_path: Any, png_path: Any, title: str = "") -> None:
    _pixel(png_path)


def _confusion(counts: Any, names: Any, path: Any, title: str = "", normalize: bool = False) -> None:
    _pixel(path)


def _reliability(out_dir: Path, target: np.ndarray, probs: Any, raw: Any) -> None:
    if (target >= 0).any():
        _pixel(out_dir / evaluation.RELIABILITY)


# what runs call, and what takes its place
DRAWING: list[tuple[Any, str, Any]] = [
    (curves, "plot_curves", _curves),
    (metrics_json, "plot_confusion", _confusion),
    (evaluation, "write_reliability", _reliability),
]
REAL = [getattr(module, name) for module, name, _ in DRAWING]


def blank() -> None:
    """From now on, figures that runs draw are one pixel."""
    for module, name, short in DRAWING:
        setattr(module, name, short)


def draw() -> None:
    """From now on, figures are drawn."""
    for (module, name, _), real in zip(DRAWING, REAL, strict=True):
        setattr(module, name, real)
