from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from lit_cnn.inspection import plots
from lit_cnn.inspection.layers import inspect_layers


@pytest.mark.parametrize("depth", [2, 30, 80])
def test_the_legend_covers_no_line_and_is_inside_the_figure(
    depth: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    layers = inspect_layers(nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1) for _ in range(depth)]), 32, 1)
    assert plots.plot_receptive_fields(layers[1:], 32, "stack, 32 pixels", tmp_path / "picture.png")
    (figure,) = figures
    figure.canvas.draw()
    (axes,) = figure.axes
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert not box.overlaps(axes.get_window_extent())
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    plots.plt.close(figure)
