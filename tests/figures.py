"""Blank figures: drawing results.png takes half of a run of seconds, and most tests do not look at it."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from PIL import Image

DRAWN_BY_RUNS = ("results.png", "confusion_matrix")
savefig = Figure.savefig


def blank() -> None:
    """From now on, figures that runs draw are saved as one pixel."""

    def save(self: Figure, file: Any, **kwargs: Any) -> None:
        name = str(getattr(file, "name", file))
        if any(drawn in name for drawn in DRAWN_BY_RUNS):
            Image.new("L", (1, 1)).save(file, "PNG")
        else:
            savefig(self, file, **kwargs)

    Figure.savefig = save


def draw() -> None:
    """From now on, figures are drawn."""
    Figure.savefig = savefig
