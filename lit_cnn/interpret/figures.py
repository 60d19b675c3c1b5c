"""Figures of explanations, as ``lit-cnn explain`` writes them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lit_cnn.interpret.explanation import Heat
from lit_cnn.results.gallery import overlay

_CHANNELS = 16  # of a layer that are drawn
_FILTERS = 64
_DPI = 100


def draw_explanation(image: Image.Image, title: str, labels: list[str], rows: list[list[Heat]], path: Path) -> None:
    """Draw the image and its heat maps: a row for each class, a column for each method.

    Args:
        image: as the network gets it, before normalization.
        title: of the figure.
        labels: of the rows.
        rows: as :func:`lit_cnn.interpret.explanation.explain_image` gives them.
        path: of the PNG file.
    """
    figure, axes = _grid(len(rows), 1 + len(rows[0]), 2.6, 2.95)
    for line, label, heats in zip(axes, labels, rows, strict=True):
        _show(line[0], image, label)
        for place, heat in zip(line[1:], heats, strict=True):
            text = f"{heat.method}\ndeletion {heat.deletion:.2f}, insertion {heat.insertion:.2f}"
            _show(place, overlay(image, heat.map.numpy()) if heat.map.any() else image, text)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=_DPI)


def draw_feature_maps(maps: dict[str, Tensor], title: str, path: Path) -> None:
    """Draw the strongest channels of each layer, a row each, every channel from its own minimum to its maximum.

    Args:
        maps: float (C, h, w) by the layer's name.
        title: of the figure.
        path: of the PNG file.
    """
    figure, axes = _grid(len(maps), 1, 13, 1.25)
    for place, (name, values) in zip(axes[:, 0], maps.items(), strict=True):
        strongest = values.std(dim=(1, 2), correction=0).argsort(descending=True, stable=True)[:_CHANNELS].tolist()
        tiles = [_scaled(values[channel].cpu().numpy()) for channel in strongest]
        step = _show_tiles(place, tiles, len(tiles))
        place.set_xticks([(i + 0.5) * step - 0.5 for i in range(len(tiles))], [str(channel) for channel in strongest])
        _, height, width = values.shape
        place.set_title(f"{name}: {len(values)} x {height} x {width}", fontsize=8, loc="left", pad=3)
        place.tick_params(length=0, labelsize=7, pad=1)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=_DPI)


def draw_filters(name: str, filters: Tensor, path: Path) -> None:
    """Draw filters float (F, C, h, w): in colour for three channels, else the mean over the channels."""
    shown = filters[:_FILTERS].numpy()
    columns = min(16, len(shown))
    tiles = [_scaled(f.transpose(1, 2, 0) if len(f) == 3 else f.mean(0)) for f in shown]
    figure, axes = _grid(1, 1, 0.6 * columns, 0.6 * math.ceil(len(shown) / columns))
    _show_tiles(axes[0, 0], tiles, columns)
    axes[0, 0].axis("off")
    more = f", the first {len(shown)}" if len(shown) < len(filters) else ""
    figure.suptitle(f"{len(filters)} filters of {name}{more}", fontsize=9)
    figure.savefig(path, dpi=_DPI)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Values from 0, the smallest, to 1, the largest."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / ((high - low) or 1.0)


def _show_tiles(place: Axes, tiles: list[np.ndarray], columns: int) -> int:
    """Show tiles of equal shape (h, w) or (h, w, 3) in rows of so many; returns the width of a tile with its gap."""
    enlarged = max(1, 64 // max(tiles[0].shape[:2]))  # so that the gap is a small part of it
    tiles = [tile.repeat(enlarged, 0).repeat(enlarged, 1) for tile in tiles]
    height, width = tiles[0].shape[:2]
    gap = max(2, width // 12)
    rows, colour = math.ceil(len(tiles) / columns), tiles[0].shape[2:]
    sheet = np.ones((rows * (height + gap), columns * (width + gap), *colour))
    mask = np.ones(sheet.shape[:2], dtype=bool)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
        mask[top : top + height, left : left + width] = False
    place.imshow(sheet if colour else np.ma.array(sheet, mask=mask), cmap="viridis", interpolation="nearest")
    place.set_yticks([])
    for spine in place.spines.values():
        spine.set_visible(False)
    return width + gap


def draw_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Draw a histogram of each layer's weights, on a logarithmic scale of counts."""
    columns = min(4, len(weights))
    figure, axes = _grid(math.ceil(len(weights) / columns), columns, 2.6, 1.7)
    for place in axes.flat[len(weights) :]:
        place.axis("off")
    for place, (name, values) in zip(axes.flat, weights.items(), strict=False):
        flat = values.flatten().numpy()
        place.hist(flat, bins=60, log=True, color="C0")
        place.set_title(f"{name[-38:]}\nmean {flat.mean():.1e}, std {flat.std():.1e}", fontsize=6.5, pad=3)
        place.tick_params(labelsize=6)
    figure.suptitle("weights: how many have which value", fontsize=10)
    figure.savefig(path, dpi=_DPI)


def draw_exciting(layer: str, rows: list[tuple[int, list[tuple[Image.Image, Tensor, float]]]], path: Path) -> None:
    """Draw the images that excite filters most, with the map of the filter over each.

    Args:
        layer: of the filters.
        rows: number of a filter, and its images with the filter's map float (h, w) and its largest value.
        path: of the PNG file.
    """
    columns = max(len(found) for _, found in rows)
    figure, axes = _grid(len(rows), columns, 1.5, 1.7)
    for line, (number, found) in zip(axes, rows, strict=True):
        for place in line:
            place.axis("off")
        for column, (place, (image, values, peak)) in enumerate(zip(line, found, strict=False)):
            heat = values.relu() / max(float(values.max()), 1e-12)
            _show(place, overlay(image, heat.cpu().numpy()), f"{f'filter {number}: ' if column == 0 else ''}{peak:.2f}")
    figure.suptitle(f"images that excite filters of {layer} most", fontsize=10)
    figure.savefig(path, dpi=_DPI)


def _grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(max(3.5, width * columns), height * rows + 0.6), layout="constrained")
    axes: np.ndarray = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def _show(place: Axes, image: Image.Image, title: str) -> None:
    place.imshow(np.asarray(image), cmap="gray" if image.mode == "L" else None)
    place.set_title(title, fontsize=8, pad=3)
    place.axis("off")
