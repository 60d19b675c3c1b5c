"""results.png: loss, accuracy and learning rate of a run, drawn from its metrics.csv."""

from __future__ import annotations

import logging
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lit_cnn.results.metrics_csv import Row, read_metrics
from lit_cnn.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCORES = {"acc": "accuracy", "psnr": "PSNR, dB"}  # by metric, and what they are called
COLOURS = {"train": "#1f77b4", "val": "#d95f02"}
JUMP = 20  # times the median loss, from which the axis is logarithmic
LEARNING_RATE = re.compile(r"(^|/)lr($|[-/_])")  # "lr", "train/lr", and LearningRateMonitor's "lr-SGD/pg1"


def plot_curves(csv_path: str | os.PathLike[str], png_path: str | os.PathLike[str], title: str = "") -> None:
    """Draw a metrics.csv as one figure: loss, accuracy or PSNR, and the learning rate if it was logged, over epochs.

    Args:
        csv_path: File written by ``MetricsCSV``.
        png_path: Image to write; an older one is replaced atomically.
        title: Title of the figure, before the best validation score.
    """
    columns, rows = read_metrics(csv_path)
    rows = [row for row in rows if not any(name.startswith("test/") for name in row)]  # a test is not part of training
    epochs = epochs_done(rows)
    rates = distinct([c for c in columns if LEARNING_RATE.search(c)], rows)

    from matplotlib.figure import Figure  # here, since matplotlib takes half a second to import
    from matplotlib.ticker import MaxNLocator

    widths = [4, 4, 2.6] if rates else [4, 4]
    figure = Figure(figsize=(1.25 * sum(widths), 4.4), dpi=110, layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(1, len(widths), width_ratios=widths)))
    _draw_splits(panels[0], rows, epochs, "loss", "loss")
    if _jumps(rows):
        panels[0].set_yscale("log")
    score = "psnr" if "val/psnr" in columns or "train/psnr" in columns else "acc"
    _draw_splits(panels[1], rows, epochs, score, SCORES[score])
    if rates:
        for name in rates:
            _draw_series(panels[2], rows, epochs, name, label=name)
        panels[2].set_title("learning rate")
        panels[2].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        if len(rates) > 1:
            panels[2].legend(fontsize="small")
    for panel in panels:
        panel.set_xlabel("epochs done")
        panel.set_xlim(0, max(1.0, *epochs) * 1.02 if len(epochs) else 1.02)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        panel.grid(alpha=0.3)
    best = _mark_best(panels[1], rows, epochs, f"val/{score}")
    if (
        score == "acc" and np.ptp(panels[1].dataLim.intervaly) < 0.01
    ):  # a single epoch: the automatic range would show only noise
        panels[1].set_ylim(0, 1)
    figure.suptitle("   ".join(part for part in (title, best) if part))
    save_figure(figure, png_path)


def why_no_figures() -> str:
    """Import matplotlib without its warnings about its cache; the reason where it cannot be, else ``""``.

    It needs a folder to write to: its own in the home folder, or one for temporary files.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        import matplotlib.figure  # noqa: F401
    except OSError:
        return "matplotlib finds no folder for its cache: set MPLCONFIGDIR to one that can be written"
    return ""


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG atomically, so that a viewer never sees half a figure."""
    with atomic_write(Path(path), "wb") as file:
        figure.savefig(file, format="png")


def _draw_splits(panel: Axes, rows: list[Row], epochs: np.ndarray, kind: str, title: str) -> None:
    """Draw train and val ``kind`` ("loss", "acc", "psnr"); a per-step column, if there is one, thin behind them."""
    panel.set_title(title)
    drawn, broken = False, {}
    for split, colour in COLOURS.items():
        name = f"{split}/{kind}"
        if not any(name in row for row in rows):
            name += "_epoch"  # what Lightning calls it when it is logged per step as well
        _draw_series(panel, rows, epochs, f"{split}/{kind}_step", color=colour, alpha=0.35, linewidth=0.8, marker="")
        if len(series(rows, epochs, name)[0]):
            since = _draw_series(panel, rows, epochs, name, color=colour, label=split)
            drawn = True
            if since is not None:
                broken[name] = since
    if drawn:
        panel.legend()
    else:
        panel.text(0.5, 0.5, "not logged", transform=panel.transAxes, ha="center", va="center")
    if broken:
        since = min(broken.values())
        panel.axvline(since, color="#b22222", linestyle=":")
        panel.set_title(f"{title}  ({', '.join(broken)} not finite at {since:.4g})", color="#b22222", fontsize="medium")


def _jumps(rows: list[Row]) -> bool:
    """Whether a loss is so far above most others that a linear axis would show these as one line."""
    names = [f"{split}/loss{ending}" for split in COLOURS for ending in ("", "_epoch", "_step")]
    values = np.array([float(row[name]) for row in rows for name in names if name in row])
    return jumps(values)


def jumps(values: np.ndarray) -> bool:
    """Whether losses (N,) are best drawn on a logarithmic axis."""
    values = values[np.isfinite(values)]
    return len(values) > 0 and bool(values.min() > 0 and values.max() > JUMP * np.median(values))


def _draw_series(panel: Axes, rows: list[Row], epochs: np.ndarray, name: str, **style: Any) -> float | None:
    """Draw one column. Return the epoch of its first value that is not finite, if there is one."""
    x, y = series(rows, epochs, name)
    if len(x):
        # A line needs two points; with few, the marks show where the values are.
        panel.plot(x, y, **({"marker": "o" if len(x) <= 30 else "", "markersize": 3.5} | style))
    bad = x[~np.isfinite(y)]
    return float(bad[0]) if len(bad) else None


def _mark_best(panel: Axes, rows: list[Row], epochs: np.ndarray, score: str) -> str:
    """Ring the best validation score and return it in words, or "" where there is none."""
    x, y = series(rows, epochs, score)
    if not np.isfinite(y).any():
        return ""
    at = int(np.nanargmax(np.where(np.isfinite(y), y, np.nan)))
    panel.plot(x[at], y[at], "o", markersize=10, markerfacecolor="none", color=COLOURS["val"])
    return f"best {score} {y[at]:.4f} after {math.ceil(x[at] - 1e-6)} epochs".replace("after 1 epochs", "after 1 epoch")


def series(rows: list[Row], epochs: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return where (in epochs) and what a column's values are."""
    at = [i for i, row in enumerate(rows) if name in row]
    return epochs[at], np.array([float(rows[i][name]) for i in at])


def epochs_done(rows: list[Row]) -> np.ndarray:
    """Return for each row how many epochs were done after its step: 1.0 for the last step of epoch 0.

    Rows have an epoch only where one was logged, and epochs may differ in length when the batch size was changed on
    resuming, so the ends of the epochs found in the table are joined by straight lines.
    """
    last_step: dict[int, int] = {}
    for row in rows:
        if row.get("epoch", "").isdigit():
            epoch = int(row["epoch"])
            last_step[epoch] = max(last_step.get(epoch, 0), int(row["step"]))
    done, position = [0.0], [0.0]  # steps done, epochs done
    for epoch in sorted(last_step):
        steps = last_step[epoch] + 1.0
        if steps <= done[-1]:
            continue
        per_epoch = (steps - done[-1]) / (epoch + 1 - position[-1])
        before = (done[-1] - done[-2]) / (position[-1] - position[-2]) if len(done) > 1 else 0.0
        # The newest epoch may be under way: then it is measured by the one before.
        unfinished = epoch == max(last_step) and per_epoch < before
        position.append(position[-1] + (steps - done[-1]) / before if unfinished else epoch + 1.0)
        done.append(steps)
    return np.interp([int(row["step"]) + 1.0 for row in rows], done, position)


def distinct(names: list[str], rows: list[Row]) -> list[str]:
    """Leave out columns that repeat an earlier one: parameter groups mostly share their learning rate."""
    seen: dict[tuple[str | None, ...], str] = {}
    for name in names:
        seen.setdefault(tuple(row.get(name) for row in rows), name)
    return list(seen.values())
