"""Fill the template of report.html."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from lit_cnn.results.evaluation import format_score, what_it_tells
from lit_cnn.results.gallery import within_bytes, worst
from lit_cnn.results.pictures import png_address
from lit_cnn.results.report.evaluated import Evaluated
from lit_cnn.results.report.facts import RunFacts, read_run
from lit_cnn.utils.files import atomic_write

NAME = "report.html"
TRAIN_BATCH = "train_batch.jpg"
MOST_MATRIX = 30  # classes whose matrix is a table of buttons
PAIRS = 60  # of classes that are confused, listed where there are more
LISTED = 60  # images of a cell
WORST = 24  # mistakes that are shown at once
SUSPECTS = 20
PICTURE_BYTES = 2_600_000  # of the pictures; base64 makes a third more of them
_SHOWN = {
    "accuracy": "accuracy",
    "top_5_accuracy": "top-5 accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision_macro": "precision, macro",
    "recall_macro": "recall, macro",
    "f1_macro": "F1, macro",
    "f1_weighted": "F1, weighted",
    "roc_auc_ovr": "AUROC, one class against the others",
    "cohen_kappa": "Cohen's kappa",
    "set_coverage": "coverage of the 90% sets",
}
_ERRORS = {
    "log_loss": "log loss",
    "brier_score_loss": "Brier score",
    "ece_raw": "calibration error (ECE) before the temperature",
    "ece": "calibration error (ECE)",
    "temperature": "temperature",
    "set_size": "classes in a 90% set, mean",
}


def write_report(run: Path, path: Path | None = None, locked: bool | None = False) -> tuple[Path, str]:
    """Write the page of a run.

    Args:
        run: its folder.
        path: the file; by default report.html in the folder.
        locked: whether a process is training in it; None: unknown.

    Returns:
        The file, and what it says in one sentence.

    Raises:
        OSError: it cannot be written.
    """
    facts = read_run(run, locked)
    said = sentence(facts)
    html = render(facts, said)
    path = run / NAME if path is None else path
    with atomic_write(path) as file:
        file.write(html)
    return path, said


def sentence(facts: RunFacts) -> str:
    """What a run has reached, in one sentence."""
    found, summary = facts.evaluated, facts.summary
    if facts.restored is not None:
        return facts.restored.sentence()
    if found is None:
        if summary.best is None:
            return f"{summary.name}: no evaluation yet."
        return f"best {summary.metric} {summary.best:.4f} after {summary.epochs} epochs; not tested yet."
    score, images = found.accuracy, int(found.counts.sum())
    text = (
        f"{100 * score.value:.1f}% of {images:,} {found.split} images are right "
        f"({100 * score.low:.0f}-{100 * score.high:.0f}%)"
    )
    confused = found.counts - np.diag(np.diag(found.counts))
    if confused.max(initial=0) < 2:
        return f"{text}."
    true, predicted = np.unravel_index(int(confused.argmax()), confused.shape)
    return (
        f"{text}; most often {found.names[true]} is taken for {found.names[predicted]} "
        f"({confused[true, predicted]} of {found.counts[true].sum()})."
    )


def _text(name: str) -> str:
    """A file of the templates."""
    return resources.files("lit_cnn.results").joinpath("templates").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    """The page's template, compiled once."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_text),
    )
    environment.filters |= {
        "score": format_score,
        "percent": _percent,
        "number": _number,
        "jpeg": _jpeg,
        "duration": _duration,
    }
    return environment.get_template("report.html.j2")


def render(facts: RunFacts, said: str) -> str:
    """The page as HTML."""
    found = facts.evaluated
    data: dict[str, Any] = {"charts": [asdict(chart) for chart in facts.charts]}
    if found is not None:
        data |= {"names": found.names, **_pictures(found)}
    return _template().render(
        said=said,
        facts=facts,
        known=facts.known,
        command=_command(facts.folder),
        config=_read(facts.folder / "config.yaml"),
        train_batch=_embedded(facts.folder / TRAIN_BATCH, "jpeg"),
        found=found,
        restored=facts.restored,
        triples=facts.restored.shown(PICTURE_BYTES) if facts.restored is not None else [],
        view=_evaluation(found) if found is not None else None,
        data=_script(data),
        script=_text("report.js"),
        style=_text("report.css"),
        uplot_script=_text("uplot/uplot.min.js").replace("</", "<\\/"),
        uplot_style=_text("uplot/uplot.min.css"),
        uplot_license=_text("uplot/LICENSE"),
    )


def _evaluation(found: Evaluated) -> dict[str, Any]:
    """What the template shows of an evaluation."""
    support = found.counts.sum(axis=1)
    images = int(support.sum())
    small = len(found.names) <= MOST_MATRIX
    wrong = worst(found.target, found.predicted, found.probability, WORST)
    bins = found.bins
    return {
        "images": images,
        "tells": what_it_tells(found.accuracy, images),
        "scores": [(word, found.scores[name]) for name, word in _SHOWN.items() if name in found.scores],
        "errors": [(word, _error(found, name)) for name, word in _ERRORS.items() if name in found.errors],
        "matrix": _matrix(found) if small else None,
        "pairs": [] if small else _pairs(found),
        "figure": "" if small else _embedded(found.folder / "confusion_matrix_normalized.png", "png"),
        "wrong": [_shown(found, row) for row in wrong.tolist()],
        "mistakes": int(support.sum() - np.trace(found.counts)),
        "suspects": [_shown(found, row) for row in found.suspicious[:SUSPECTS]],
        "more_suspects": max(0, len(found.suspicious) - SUSPECTS),
        "bins": []
        if bins is None
        else [
            (float(c), float(a), int(n))
            for c, a, n in zip(bins.confidence, bins.accuracy, bins.images, strict=True)
            if n > 0
        ],
    }


def _matrix(found: Evaluated) -> list[tuple[str, list[tuple[int, float]]]]:
    """Rows of the confusion matrix: the true class, and for each predicted one its images and their share."""
    support = np.maximum(found.counts.sum(axis=1, keepdims=True), 1)
    shares = found.counts / support
    return [
        (name, list(zip(counts.tolist(), row.tolist(), strict=True)))
        for name, counts, row in zip(found.names, found.counts, shares, strict=True)
    ]


def _pairs(found: Evaluated) -> list[tuple[int, int, int, int]]:
    """Pairs of classes that are confused most: true, predicted, images, and images of the true class."""
    confused = found.counts - np.diag(np.diag(found.counts))
    order = np.argsort(-confused, axis=None, kind="stable")[:PAIRS]
    pairs = [np.unravel_index(int(i), confused.shape) for i in order]
    support = found.counts.sum(axis=1)
    return [(int(t), int(p), int(confused[t, p]), int(support[t])) for t, p in pairs if confused[t, p]]


def _shown(found: Evaluated, row: int) -> dict[str, Any]:
    gallery = found.gallery
    return {
        "file": found.files[row],
        "true": found.names[found.target[row]],
        "predicted": found.names[found.predicted[row]],
        "probability": float(found.probability[row]),
        "picture": gallery.pictures.get(row),
        "cam": gallery.cams.get(row),
        "near": gallery.neighbours.get(row, []),
    }


def _pictures(found: Evaluated) -> dict[str, Any]:
    """Pictures by row, and the rows of each cell of the confusion matrix, those with a picture first."""
    kept = within_bytes(found.gallery.pictures, PICTURE_BYTES)
    cells: dict[str, list[int]] = {}
    known = np.flatnonzero(found.target >= 0)
    without = np.array([row not in kept for row in known.tolist()], dtype=bool)
    for row in known[np.lexsort((-found.probability[known], without))].tolist():
        listed = cells.setdefault(f"{found.target[row]},{found.predicted[row]}", [])
        if len(listed) < LISTED:
            listed.append(row)
    rows = sorted(row for listed in cells.values() for row in listed)
    return {
        "cells": cells,
        "files": {row: found.files[row] for row in rows},
        "probability": {row: round(float(found.probability[row]), 4) for row in rows},
        "pictures": {row: _base64(content) for row, content in kept.items()},
    }


def _base64(content: bytes) -> str:
    return png_address(content).partition(",")[2]


def _jpeg(content: bytes) -> str:
    return png_address(content, "jpeg")


def _script(data: Any) -> str:
    """JSON that can stand in a script element: no name of a file can end it."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _error(found: Evaluated, name: str) -> str:
    """An error of the probabilities, with its interval where it has one."""
    return format_score(found.scores[name], 3) if name in found.scores else _number(found.errors[name])


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _command(run: Path) -> str:
    """The first command line of a run's log; empty where it has none."""
    with contextlib.suppress(OSError), (run / "log.txt").open(encoding="utf-8", errors="replace") as file:
        first = file.readline().rstrip("\n")
        return first.removeprefix("$ ") if first.startswith("$ ") else ""
    return ""


def _embedded(path: Path, kind: str) -> str:
    """A picture file as an address that holds it; empty where there is none."""
    with contextlib.suppress(OSError):
        return png_address(path.read_bytes(), kind)
    return ""
