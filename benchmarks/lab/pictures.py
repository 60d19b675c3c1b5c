"""Pictures of the lab's pages, drawn from runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from benchmarks.lab.runs import Run
from lit_cnn.results.curves import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#666666")


def figure(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side."""
    from matplotlib.figure import Figure as Canvas

    drawn = Canvas(figsize=(width, height), dpi=100, layout="constrained")
    axes = list(drawn.subplots(1, panels, squeeze=False)[0])
    for each in axes:
        each.grid(alpha=0.3)
    return drawn, axes


def save(drawn: Figure, path: Path) -> None:
    """Write a PNG of at most 128 colours, a third as large as one of all."""
    save_figure(drawn, path)
    shrink(path)


def shrink(path: Path) -> None:
    """Reduce the colours of a PNG."""
    with Image.open(path) as image:
        reduced = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


def intervals(runs: Sequence[Run], path: Path, marks: Mapping[str, float] = {}) -> None:
    """Test accuracies as points with their 95% intervals, one row a run.

    Args:
        runs: from the top downwards.
        path: PNG to write.
        marks: accuracies known from elsewhere, as vertical lines.
    """
    drawn, (axes,) = figure(8, 1 + 0.32 * len(runs))
    for row, run in enumerate(runs):
        share, low, high = run.accuracy
        axes.errorbar(share, row, xerr=[[share - low], [high - share]], fmt="o", color=COLOURS[0], capsize=3)
    for colour, (name, value) in zip(COLOURS[1:], marks.items(), strict=False):
        axes.axvline(value, color=colour, linestyle="--", linewidth=1, label=name)
    if marks:
        drawn.legend(fontsize=9, loc="outside upper right", ncols=len(marks))
    axes.set_yticks(range(len(runs)), [run.label for run in runs], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel(f"accuracy on {runs[0].images:,} test images, 95% interval")
    save(drawn, path)


def same_curves(runs: Sequence[Run], seconds: Mapping[str, float], path: Path) -> None:
    """Training loss by epoch, and milliseconds on a logarithmic axis."""
    drawn, (left, right) = figure(9, 3.4, 2)
    for number, run in enumerate(runs):
        loss = run.curve("train/loss")
        style = ("-", "--")[number]  # one over the other
        left.plot(range(1, len(loss) + 1), loss, style, color=COLOURS[number], linewidth=3 - number, label=run.label)
    left.set(xlabel="epoch", ylabel="training loss")
    left.legend(fontsize=9)
    right.plot([value * 1000 for value in seconds.values()], list(seconds), "o", color=COLOURS[0])
    right.set_xscale("log")
    right.set_xlabel("milliseconds for an image, logarithmic")
    right.invert_yaxis()
    save(drawn, path)


def curves(groups: Mapping[str, Sequence[Run]], metrics: Sequence[str], path: Path) -> None:
    """Accuracy by epoch: a panel for each group, a colour for each run, the metrics solid and dashed."""
    drawn, panels = figure(3.6 * len(groups), 3.2, len(groups))
    for axes, (title, runs) in zip(panels, groups.items(), strict=True):
        for colour, run in zip(COLOURS, runs, strict=False):
            for metric, style in zip(metrics, ("-", "--"), strict=False):
                values = run.curve(metric)
                label = run.label if metric == metrics[0] else None
                axes.plot(range(1, len(values) + 1), values, style, color=colour, label=label)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.legend(fontsize=8)
    panels[0].set_ylabel(f"{metrics[0]}, dashed {metrics[1]}" if len(metrics) > 1 else metrics[0])
    save(drawn, path)


def gradients(measured: Mapping[str, Mapping[str, Sequence[float]]], stages: Sequence[str], path: Path) -> None:
    """Gradient by stage, logarithmic: a panel for each key, a line for each of its rows."""
    drawn, panels = figure(3.7 * len(measured), 3.3, len(measured))
    for axes, (title, lines) in zip(panels, measured.items(), strict=True):
        for colour, (name, values) in zip(COLOURS, lines.items(), strict=False):
            axes.plot(range(len(stages)), values, marker="o", markersize=4, color=colour, label=name)
        axes.set_xticks(range(len(stages)), stages, rotation=60, fontsize=8)
        axes.set_yscale("log")
        axes.set_title(title, fontsize=10)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("norm of gradient / norm of weights")
    save(drawn, path)


def gridding(maps: Mapping[str, Sequence[Sequence[float]]], path: Path) -> None:
    """Number of paths from each pixel of a window to a unit; pixels that are never read are red."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    drawn, panels = figure(3.2 * len(maps), 3.6, len(maps))
    colours = colormaps["viridis"].with_extremes(bad="tab:red")
    for axes, (title, paths) in zip(panels, maps.items(), strict=True):
        values = [[value or float("nan") for value in row] for row in paths]
        axes.imshow(values, cmap=colours, norm=LogNorm(1, 50), interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
    drawn.suptitle("paths from a pixel to one unit: dark few, bright many, red none", fontsize=10)
    save(drawn, path)


def by_images(lines: Mapping[str, Mapping[int, Run]], marks: Mapping[str, float], path: Path) -> None:
    """Test accuracy by the number of training images of a class, a line for each key."""
    drawn, (axes,) = figure(7, 4)
    for shift, (colour, (name, runs)) in enumerate(zip(COLOURS, lines.items(), strict=False)):
        places = [count * (1 + 0.03 * shift) for count in runs]  # beside each other, not over
        scores = [run.accuracy for run in runs.values()]
        error = [[share - low for share, low, _ in scores], [high - share for share, _, high in scores]]
        axes.errorbar(places, [share for share, _, _ in scores], error, color=colour, marker="o", capsize=3, label=name)
    for name, value in marks.items():
        axes.axhline(value, color="#666666", linestyle="--", linewidth=1, label=name)
    counts = sorted({count for runs in lines.values() for count in runs})
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="images of a class for training and validation", ylabel="test accuracy, 95% interval", ylim=(0, 1))
    axes.legend(fontsize=8, loc="upper left", ncols=2)
    save(drawn, path)


def scatter(points: Mapping[str, tuple[float, float, Run]], names: tuple[str, str], path: Path) -> None:
    """Test accuracy against two numbers of each network, in two panels; the first number's axis is logarithmic."""
    drawn, panels = figure(9, 3.8, 2)
    for which, (axes, name) in enumerate(zip(panels, names, strict=True)):
        for colour, (label, (first, second, run)) in zip(COLOURS, points.items(), strict=False):
            share, low, high = run.accuracy
            place, error = (first, second)[which], [[share - low], [high - share]]
            axes.errorbar(place, share, error, fmt="o", color=colour, capsize=3, label=label)
        axes.set_xlabel(name)
    panels[0].set_xscale("log")
    panels[0].set_ylabel("test accuracy, 95% interval")
    panels[1].legend(fontsize=8)
    save(drawn, path)


def two_scores(values: Mapping[str, tuple[float, float]], names: tuple[str, str], path: Path) -> None:
    """Two numbers of each row, as points in two panels."""
    drawn, panels = figure(9, 0.9 + 0.35 * len(values), 2)
    for which, (axes, name) in enumerate(zip(panels, names, strict=True)):
        axes.plot([value[which] for value in values.values()], list(values), "o", color=COLOURS[which])
        axes.set_xlabel(name)
        axes.invert_yaxis()
    panels[1].set_yticklabels([])
    save(drawn, path)
