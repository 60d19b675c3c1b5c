"""Confusion matrices as a table and as figures, from 2 classes to thousands."""

from __future__ import annotations

import csv
import math
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lit_cnn.results.curves import save_figure
from lit_cnn.utils.files import atomic_write

# Families with Chinese, Japanese or Korean letters, which matplotlib's own DejaVu Sans lacks.
CJK_FAMILIES: tuple[str, ...] = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "SimHei",
)
CJK_FAMILIES += ("Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS", "Droid Sans Fallback")
LONGEST_NAME = 24  # letters of a class name on an axis
MOST_NAMES = 120  # classes that are named on the axes; of more, their numbers
MOST_CELLS = 400  # on a side of a figure without names; of more classes, neighbours share a cell
MOST_COLUMNS = 2000  # classes of the table; of more, it lists the pairs that occur


def confusion_counts(target: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count (true, predicted) pairs: int64 (K, K), true classes on rows. Targets below 0 are unknown, and skipped."""
    known = target >= 0
    pairs = target[known] * num_classes + predicted[known]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def write_confusion(counts: np.ndarray, names: list[str], path: str | os.PathLike[str]) -> None:
    """Write the counts (K, K) as a CSV table, true classes on rows, with the class names on both sides.

    With more than ``MOST_COLUMNS`` classes, it has a line for each pair that occurs: true, predicted, images.
    """
    with atomic_write(Path(path), newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if len(names) > MOST_COLUMNS:
            writer.writerow(["true", "predicted", "images"])
            for row, name in enumerate(names):
                found = np.flatnonzero(counts[row])
                writer.writerows([name, names[column], int(counts[row, column])] for column in found)
            return
        writer.writerow(["true \\ predicted", *names])
        writer.writerows([name, *row.tolist()] for name, row in zip(names, counts, strict=True))


def plot_confusion(
    counts: np.ndarray, names: list[str], path: str | os.PathLike[str], title: str = "", normalize: bool = False
) -> None:
    """Draw a confusion matrix (K, K), true classes on rows.

    Args:
        counts: Number of images of each (true, predicted) pair.
        names: The K class names.
        path: PNG to write.
        title: Title of the figure.
        normalize: Show each row as shares of its true class. Classes without images have an empty row.
    """
    if len(names) > MOST_NAMES:
        _plot_many(counts, path, title, normalize)
        return
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    k = len(names)
    support = counts.sum(axis=1, keepdims=True)
    shown = np.where(support > 0, counts / np.maximum(support, 1), np.nan) if normalize else counts.astype(float)
    fonts, labels = _readable(tuple(names))

    # Inches a class: wide enough for the numbers while there are any, then for the name at 6 points.
    cell = float(np.clip(9 / k, 0.17 if k > 40 else 0.32, 0.9))
    label_size = float(np.clip(60 * cell, 6, 10))
    longest = max(len(label) for label in labels) * label_size * 0.0085
    width, height = k * cell + longest + 1.6, k * cell + longest + 1.2
    figure = Figure(
        figsize=(max(width, 4.5), max(height, 4)), dpi=110, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    )
    panel = figure.subplots()
    top = 1.0 if normalize else max(1.0, float(counts.max(initial=1)))
    image = panel.imshow(shown, cmap="Blues", vmin=0, vmax=top)
    panel.set_facecolor("#dddddd")  # shows through where a class has no images
    text: dict[str, Any] = {"fontsize": label_size, "fontfamily": fonts, "parse_math": False}
    panel.set_xticks(range(k), labels, rotation=90 if longest > 0.95 * max(cell, 3.2 / k) else 0, **text)
    panel.set_yticks(range(k), labels, **text)
    panel.set_xlabel("predicted class")
    panel.set_ylabel("true class")
    panel.set_title(title, fontsize=11)
    if k > 40:  # without numbers, lines help the eye from a cell to its names
        edges = np.arange(1, k) - 0.5
        panel.hlines(edges, -0.5, k - 0.5, color="#e8e8e8", linewidth=0.4)
        panel.vlines(edges, -0.5, k - 0.5, color="#e8e8e8", linewidth=0.4)
        figure.colorbar(
            image,
            ax=panel,
            shrink=0.5,
            fraction=0.03,
            pad=0.01,
            label="share of the true class" if normalize else "images",
        )
    else:
        size = float(np.clip(cell * 72 * 0.3, 5, 11)) * (0.85 if not normalize and top >= 10_000 else 1)
        for (row, column), value in np.ndenumerate(shown):
            if value > 0 or (row == column and value == 0):
                number = (f"{value:.2f}" if k <= 20 else f"{value:.2f}".lstrip("0")) if normalize else f"{value:.0f}"
                colour = "white" if value > 0.5 * top else "#222222"
                panel.text(column, row, number, ha="center", va="center", fontsize=size, color=colour)
    save_figure(figure, path)


def _plot_many(counts: np.ndarray, path: str | os.PathLike[str], title: str, normalize: bool) -> None:
    """Draw a matrix of many classes in one size, with their numbers on the axes."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    k = len(counts)
    share = math.ceil(k / MOST_CELLS)  # classes in a cell
    edges = np.arange(0, k, share)
    cells = np.add.reduceat(np.add.reduceat(counts, edges, axis=0), edges, axis=1).astype(float)
    if normalize:
        support = cells.sum(axis=1, keepdims=True)
        cells = np.where(support > 0, cells / np.maximum(support, 1), np.nan)
    top = 1.0 if normalize else max(1.0, float(cells.max(initial=1)))
    figure = Figure(figsize=(10, 9), dpi=110, layout="constrained")
    panel = figure.subplots()
    end = len(edges) * share - 0.5
    # single images are seen beside the diagonal: colours by the square root
    image = panel.imshow(
        cells, cmap="Blues", norm=PowerNorm(0.5, 0, top), extent=(-0.5, end, end, -0.5), interpolation="nearest"
    )
    panel.set_facecolor("#dddddd")  # shows through where a class has no images
    panel.set_xlim(-0.5, k - 0.5)
    panel.set_ylim(k - 0.5, -0.5)
    each = f"; a cell: {share} by {share} classes" if share > 1 else ""
    panel.set_xlabel(f"predicted class (names in class_indices.json{each})")
    panel.set_ylabel("true class")
    panel.set_title(title, fontsize=11)
    figure.colorbar(image, ax=panel, shrink=0.6, label="share of the true class" if normalize else "images")
    save_figure(figure, path)


@cache
def _readable(names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the font families to use and the labels: names cut to length; numbers where no font has the letters."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(family for family in CJK_FAMILIES if family in installed)]
    drawable: set[int] = set()
    for family in families:
        drawable |= set(font_manager.get_font(font_manager.findfont(family)).get_charmap())
    labels = []
    for index, name in enumerate(names):
        if len(name) > LONGEST_NAME:  # names that begin alike mostly end differently
            name = f"{name[: LONGEST_NAME - 11]}…{name[-10:]}"
        labels.append(name if drawable.issuperset(map(ord, name)) else f"class {index}")
    return families, labels
