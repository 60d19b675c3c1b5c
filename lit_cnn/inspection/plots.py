"""Pictures of what ``lit-cnn inspect`` finds."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import LogNorm

from lit_cnn.inspection.layers import Layer, Stack

LABELS = 40  # names along the axis stay readable up to here


def growth(layers: list[Layer], image_side: int, title: str, path: Path) -> bool:
    """Draw the side of the receptive field, and the stride, layer by layer; ``False`` if no layer has one.

    Args:
        layers: in the order they run.
        image_side: of the input, in pixels.
    """
    shown = [layer for layer in layers if layer.field is not None and not layer.whole]
    if not shown:
        return False
    sides = [max(layer.field.size) for layer in shown if layer.field is not None]
    strides = [max(layer.field.stride) for layer in shown if layer.field is not None]
    width = min(16.0, max(6.0, 0.3 * len(shown) + 2))
    figure, axes = plt.subplots(figsize=(width, 5), layout="constrained")
    x = range(len(shown))
    axes.step(x, sides, where="mid", linewidth=2, label="receptive field")
    axes.plot(x, sides, "o", color="C0", markersize=3)
    axes.step(x, strides, where="mid", color="C1", label="stride")
    axes.axhline(image_side, color="grey", linestyle="--", linewidth=1, label=f"the image, {image_side} pixels")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel("side in input pixels")
    axes.set_title(f"{title}: receptive field up to {max(sides)} pixels")
    if len(shown) <= LABELS:
        axes.set_xticks(list(x), [layer.name for layer in shown], rotation=90, fontsize=8)
    else:
        axes.set_xlabel("layer")
    axes.grid(axis="y", alpha=0.3)
    # Below the names: inside, one of the lines or steps runs through any corner for some network.
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    _save(figure, path)
    return True


def gridding(stacks: list[Stack], name: str, path: Path) -> None:
    """Draw, for each stack of dilated convolutions, how many ways lead from each place of its window to a unit.

    Places that are never touched are red. They are pixels, or behind a stride places of a map.
    """
    figure, row = plt.subplots(
        1, len(stacks), figsize=(4.6 * len(stacks) + 0.6, 4.8), layout="constrained", squeeze=False
    )
    for axes, stack in zip(row[0], stacks, strict=True):
        paths = stack.paths().double()
        paths[paths == 0] = float("nan")
        colours = plt.get_cmap("viridis").with_extremes(bad="tab:red")
        top = max(2.0, float(paths.nan_to_num(0).max()))
        image = axes.imshow(paths.numpy(), cmap=colours, norm=LogNorm(1, top))
        each = ["-".join(str(link.dilation) for link in chain) or "none" for chain in stack.chains]
        dilations = each[0] if each[0] == each[1] else f"{each[0]} down, {each[1]} across"
        places = "pixels" if stack.stride == (1, 1) else f"places in front of {stack.first}"
        height, width = stack.window
        axes.set_title(f"dilations {dilations}\n{height}x{width} {places}, never touched: {stack.holes}", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        bar = figure.colorbar(image, ax=axes, shrink=0.75, label="ways to the unit")
        bar.minorticks_off()
        bar.set_ticks(sorted({1, round(top**0.5), round(top)}), labels=None)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    figure.suptitle(f"{name}: what one unit sees (red: never)", fontsize=11)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
