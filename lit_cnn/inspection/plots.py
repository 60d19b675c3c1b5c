"""Plots of receptive fields and of gridding, as ``lit-cnn inspect`` saves them."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lit_cnn.errors import UserError
from lit_cnn.inspection.gridding import DilatedStack
from lit_cnn.inspection.layers import Layer

LABELS = 40  # names along the axis stay readable up to here


def plot_receptive_fields(layers: list[Layer], image_side: int, title: str, path: Path) -> bool:
    """Plot the side of the receptive field, and the stride, layer by layer; ``False`` if no layer has one.

    Args:
        layers: in the order of their calls.
        image_side: of the input, in pixels.
    """
    shown = [layer for layer in layers if layer.receptive_field is not None and not layer.whole_image]
    if not shown:
        return False
    sides = [max(layer.receptive_field.size) for layer in shown if layer.receptive_field is not None]
    strides = [max(layer.receptive_field.stride) for layer in shown if layer.receptive_field is not None]
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
    # Below the names: inside the axes, for some network, a line runs through any corner.
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    _save(figure, path)
    return True


def plot_gridding(stacks: list[DilatedStack], name: str, path: Path) -> None:
    """Plot, for each stack of dilated convolutions, the number of paths from each position of its window to a unit.

    Positions that are never read are red. They are pixels, or after a stride positions of a map.
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
        each = ["-".join(str(step.dilation) for step in chain) or "none" for chain in stack.conv_chains]
        dilations = each[0] if each[0] == each[1] else f"{each[0]} down, {each[1]} across"
        positions = "pixels" if stack.stride == (1, 1) else f"positions of the input of {stack.first}"
        height, width = stack.window
        axes.set_title(f"dilations {dilations}\n{height}x{width} {positions}, never read: {stack.gaps}", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        bar = figure.colorbar(image, ax=axes, shrink=0.75, label="paths to the unit")
        bar.minorticks_off()
        bar.set_ticks(sorted({1, round(top**0.5), round(top)}), labels=None)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    figure.suptitle(f"{name}: what one unit reads (red: never)", fontsize=11)
    _save(figure, path)


def save_plots(name: str, rows: list[Layer], stacks: list[DilatedStack], image_side: int, folder: Path) -> list[Path]:
    """Save the plots of a model that there is something to draw for, and return their paths.

    Raises:
        UserError: they cannot be written.
    """
    stem = name.replace("/", "_")
    paths = []
    path = folder / f"{stem}_receptive_field.png"
    try:
        if plot_receptive_fields(rows, image_side, f"{name}, {image_side} pixels", path):
            paths.append(path)
        if stacks:
            path = folder / f"{stem}_gridding.png"
            plot_gridding(stacks, name, path)
            paths.append(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another `out_dir`") from None
    return paths


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
