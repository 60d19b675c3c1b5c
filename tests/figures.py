"""Blank figures: drawing results.png takes half of a short run's time, and most tests do not check it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

DRAWN_BY_RUNS = ("results.png", "confusion_matrix")
savefig = Figure.savefig


def blank() -> None:
    """From now on, figures that runs draw are saved as one pixel."""

    def save(self: Figure, path: Any, **kwargs: Any) -> None:
        given = getattr(path, "name", path)  # of a file, which is being written under a hidden name
        name = Path(given).name.lstrip(".") if isinstance(given, (str, Path)) else ""
        if name.startswith(DRAWN_BY_RUNS):
            Image.new("L", (1, 1)).save(path, "PNG")
        else:
            savefig(self, path, **kwargs)

    Figure.savefig = save


def draw() -> None:
    """From now on, figures are drawn."""
    Figure.savefig = savefig
