"""Measuring a model on the meta device: parameters, multiply-accumulates (MACs), smallest input."""

from __future__ import annotations

from torch import nn

from lit_cnn.inspection.figures import Figures
from lit_cnn.inspection.trace import Trace
from lit_cnn.models import MODELS, get_model, smallest_input
from lit_cnn.models._input_check import on_meta, output_shape, typical_input


def build_on_meta(name: str) -> nn.Module:
    """Build a registered model for the classes and channels of its source, without memory for its weights."""
    info = MODELS[name]
    return on_meta(lambda: get_model(name, num_classes=info.num_classes, in_channels=info.in_channels))


def measure(name: str, smallest: int | None = None) -> Figures:
    """Count the parameters and MACs of a registered model, and find the sizes it accepts, on shapes alone.

    Args:
        name: of the model, with its defaults.
        smallest: its smallest input, where it is known; finding it takes most of the time.

    Raises:
        Exception: whatever the model raises when it is built or run on shapes; a ``UserError`` if it accepts no size.
    """
    info = MODELS[name]
    model = build_on_meta(name)
    side = info.image_size or typical_input(model, info.in_channels)
    image = (info.in_channels, side, side)
    return Figures(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=count_macs(model, *image),
        image=image,
        classes=info.num_classes,
        smallest=smallest_input(model, info.in_channels) if smallest is None else smallest,
        year=info.year,
        paper=info.paper,
        reference=info.parameters,
        source=info.source,
    )


def measure_or_blank(name: str) -> Figures:
    """As ``measure``, with what the registry holds alone where the model cannot be run on shapes."""
    info = MODELS[name]
    try:
        return measure(name)
    except Exception:
        return Figures(classes=info.num_classes, year=info.year, paper=info.paper)


def count_macs(model: nn.Module, *shape: int) -> int:
    """Multiply-accumulate operations for one image of ``shape`` (C, H, W); leaves the model in eval mode.

    Raises:
        Exception: whatever the forward pass raises for this shape.
    """
    with Trace() as trace:
        output_shape(model.eval(), 1, *shape)
    return trace.macs
