"""Writes ``measured.py``: ``python -m tools.measure_models``, to be run when a model is added or changed."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from lit_cnn.inspection.figures import Figures
from lit_cnn.inspection.trace import Trace
from lit_cnn.models import MODELS, get_model, smallest_input
from lit_cnn.models._input_check import output_shape

TARGET = Path(__file__).with_name("measured.py")


def build(name: str) -> nn.Module:
    """Build a model of this package as its source has it, without memory for its weights."""
    row = MODELS[name]
    with torch.device("meta"):
        return get_model(name, num_classes=row.num_classes, in_channels=row.in_channels)


def measure(name: str, smallest: int | None = None) -> Figures:
    """Count and measure a model of this package, on shapes alone.

    Args:
        smallest: the smallest input, where it is known; finding it takes most of the time.
    """
    row = MODELS[name]
    model = build(name)
    image = (row.in_channels, row.image_size, row.image_size)
    return Figures(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=macs(model, *image),
        image=image,
        classes=row.num_classes,
        smallest=smallest_input(model, row.in_channels) if smallest is None else smallest,
        year=row.year,
        paper=row.paper,
        reference=row.parameters,
        source=row.source,
    )


def macs(model: nn.Module, *shape: int) -> int:
    """Multiply-accumulate operations for one image of ``shape`` (C, H, W) in eval mode, which the model is left in.

    Raises:
        Exception: whatever the forward pass raises for this shape.
    """
    with Trace() as trace:
        output_shape(model.eval(), 1, *shape)
    return trace.macs


def source(figures: dict[str, Figures]) -> str:
    """Text of ``measured.py`` with these figures by name."""
    lines = [
        '"""Written by measure.py, so that listing the models need not build them. Not to be edited."""',
        "",
        "from lit_cnn.inspection.figures import Figures",
        "",
        "# fmt: off",
        "MEASURED = {",
    ]
    for name, f in figures.items():
        numbers = f"{f.parameters:_}, {f.macs:_}, {f.image}, {f.classes}, {f.smallest}, {f.year}"
        lines += [
            f"    {json.dumps(name)}: Figures(",
            f"        {numbers},",
            f"        {json.dumps(f.paper)},",
            f"        {f.reference:_}, {json.dumps(f.source)},",
            "    ),",
        ]
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    TARGET.write_text(source({name: measure(name) for name in MODELS}))
