"""The page of ``lit-cnn compare``: one HTML file with curves and pictures in it, which needs no network."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np

from lit_cnn.results.comparison import Difference, Evaluation, disagreements, group_by_seed, group_text
from lit_cnn.results.curves import jumps, why_no_figures
from lit_cnn.results.metrics_csv import read_metrics
from lit_cnn.results.pictures import png_address
from lit_cnn.utils.files import atomic_write

SHOWN = 60  # images on which the runs disagree


def write_comparison_page(
    path: Path,
    names: Sequence[str],
    folders: Sequence[Path],
    settings: Sequence[Mapping[str, object]],
    differing: Sequence[str],
    evaluations: Sequence[Evaluation],
    pairs: Sequence[Difference],
    sentence: str,
    picture: Callable[[str], str],
) -> None:
    """Write the page.

    Args:
        path: The file.
        names: Of the runs.
        folders: Of the runs; their metrics.csv gives the curves.
        settings: Of the runs, flat.
        differing: Names of those that are not the same in all runs.
        evaluations: Predictions of the runs for the same images.
        pairs: Their differences.
        sentence: What they say.
        picture: Returns an image by its name as an address, or "".

    Raises:
        OSError: It cannot be written.
    """
    divided = disagreements(evaluations)
    both = list(zip(names, evaluations, strict=True))
    shown = [
        {
            "file": evaluations[0].files[i],
            "true": evaluations[0].true[i],
            "picture": picture(evaluations[0].files[i]),
            "answers": [(name, each.predicted[i], each.predicted[i] == each.true[i]) for name, each in both],
        }
        for i in divided[:SHOWN]
    ]
    groups = group_by_seed(settings, [each.accuracy.value for each in evaluations])
    source = resources.files("lit_cnn.results").joinpath("templates/compare.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    html = template.render(
        names=names,
        images=len(evaluations[0].files),
        scores=[(name, each.accuracy) for name, each in both],
        groups=[(group_text(settings[group.members[0]], differing), group) for group in groups if group.members[1:]],
        pairs=pairs,
        sentence=sentence,
        differing=[(name, [each.get(name, "-") for each in settings]) for name in differing],
        curves="" if why_no_figures() else png_address(_curves(names, folders)),
        shown=shown,
        more=max(0, len(divided) - SHOWN),
    )
    with atomic_write(path) as file:
        file.write(html)


def _curves(names: Sequence[str], folders: Sequence[Path]) -> bytes:
    """Validation loss and accuracy of all runs over epochs, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    panels = figure.subplots(1, 2)
    losses = np.array([value for folder in folders for value in _series(folder, "val/loss")[1]])
    if jumps(losses):
        panels[0].set_yscale("log")
    for panel, metric, title in ((panels[0], "val/loss", "validation loss"), (panels[1], "val/acc", "accuracy")):
        for name, folder in zip(names, folders, strict=True):
            epochs, values = _series(folder, metric)
            panel.plot(epochs, values, label=name, marker="." if len(epochs) < 30 else None)
        panel.set_title(title)
        panel.set_xlabel("epochs done")
        panel.grid(alpha=0.3)
    panels[1].legend(fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _series(folder: Path, metric: str) -> tuple[list[int], list[float]]:
    """Epochs done and values of a metric; none of a run without metrics."""
    epochs, values = [], []
    with contextlib.suppress(OSError):
        for row in read_metrics(folder / "metrics.csv")[1]:
            with contextlib.suppress(KeyError, ValueError):  # not measured at this step
                value = float(row[metric])
                epochs.append(int(row["epoch"]) + 1)
                values.append(value)
    return epochs, values
