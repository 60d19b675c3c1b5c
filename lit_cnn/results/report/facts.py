"""What is known of a training run, from the files of its folder."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_cnn.results.curves import LEARNING_RATE, distinct, epochs_done, series
from lit_cnn.results.metrics_csv import read_metrics
from lit_cnn.results.report.evaluated import Evaluated, newest_evaluation, read_evaluation
from lit_cnn.results.report.restored import Restored, read_restored
from lit_cnn.results.run_state import read_state
from lit_cnn.results.run_summary import RunSummary, summarize

FACTS = "facts"  # in run.json


@dataclass
class Chart:
    """Metrics over epochs, to be drawn in one chart.

    Attributes:
        title: of the chart.
        unit: epochs.
        names: of the lines.
        x: epochs done, ascending.
        lines: one value or None for each of ``x``, by line.
        log: whether the values span so much that a logarithmic axis is better.
    """

    title: str
    names: list[str]
    x: list[float]
    lines: list[list[float | None]]
    log: bool


@dataclass
class RunFacts:
    """What is known of a run.

    Attributes:
        folder: its folder.
        summary: how far it has come.
        known: what the run itself wrote down when it started: ``settings`` (name, default, value, source), ``images``
            (classes, and counts by split), ``network``, ``device``, ``versions``, ``seconds`` of training, ``leaks``.
            Runs of earlier versions have none of it.
        charts: loss, accuracy and learning rate.
        evaluated: its newest test or validation; None where there is none, or it is of another kind.
        restored: the same of image to image.
    """

    folder: Path
    summary: RunSummary
    known: dict[str, Any]
    charts: list[Chart]
    evaluated: Evaluated | None
    restored: Restored | None = None


def read_run(run: Path, locked: bool | None = False) -> RunFacts:
    """Read a run folder; whatever is missing or damaged in it is left out.

    Args:
        run: the folder.
        locked: whether a process is training in it; None: unknown.
    """
    known = read_state(run).get(FACTS)
    folder = newest_evaluation(run)
    return RunFacts(
        run,
        summarize(run, locked),
        known if isinstance(known, dict) else {},
        read_charts(run / "metrics.csv"),
        read_evaluation(folder) if folder is not None else None,
        read_restored(folder) if folder is not None else None,
    )


def read_charts(path: Path) -> list[Chart]:
    """Charts of a metrics.csv, each with at least one value."""
    try:
        columns, rows = read_metrics(path)
    except (OSError, ValueError):
        return []
    rows = [row for row in rows if not any(name.startswith("test/") for name in row)]
    done = epochs_done(rows)
    rates = distinct([name for name in columns if LEARNING_RATE.search(name)], rows)
    wanted = {
        "loss": ["train/loss", "val/loss"],
        "accuracy": ["train/acc", "val/acc"],
        "mean average precision": ["val/map"],
        "PSNR in dB": ["train/psnr", "val/psnr", "val/psnr_input"],
        "SSIM": ["val/ssim", "val/ssim_input"],
        "learning rate": rates,
    }
    found = (_chart(title, names, rows, done) for title, names in wanted.items())
    return [chart for chart in found if chart is not None]


def _chart(title: str, names: list[str], rows: Any, done: np.ndarray) -> Chart | None:
    lines: dict[str, dict[float, float]] = {}
    for name in names:
        with contextlib.suppress(ValueError):
            at, y = series(rows, done, name)
            finite = np.isfinite(y)
            if finite.any():
                lines[name] = dict(zip(at[finite].tolist(), y[finite].tolist(), strict=True))
    if not lines:
        return None
    x: list[float] = sorted({place for line in lines.values() for place in line})
    values = [value for line in lines.values() for value in line.values()]
    spread = title == "loss" and min(values) > 0 and max(values) > 20 * float(np.median(values))
    return Chart(title, list(lines), x, [[line.get(place) for place in x] for line in lines.values()], spread)
