"""Writes ``measured.py``: ``python -m lit_cnn.analysis.measure``, to be run when a model is added or changed."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from lit_cnn.analysis.figures import Figures
from lit_cnn.models import MODELS, get_model, smallest_input
from lit_cnn.models.inspect import inspect_layers

TARGET = Path(__file__).with_name("measured.py")


def measure(name: str) -> Figures:
    """Count and measure a model of this package, on shapes alone."""
    row = MODELS[name]
    with torch.device("meta"):
        model = get_model(name, num_classes=row.num_classes, in_channels=row.in_channels)
    whole = inspect_layers(model, row.image_size, row.in_channels)[0]
    return Figures(
        parameters=whole.parameters,
        macs=whole.macs,
        image=(row.in_channels, row.image_size, row.image_size),
        classes=row.num_classes,
        smallest=smallest_input(model, row.in_channels),
        year=row.year,
        paper=row.paper,
        reference=row.parameters,
        source=row.source,
    )


def source() -> str:
    """Text of ``measured.py``."""
    lines = [
        '"""Written by measure.py, so that listing the models need not build them. Not to be edited."""',
        "",
        "from lit_cnn.analysis.figures import Figures",
        "",
        "# fmt: off",
        "MEASURED = {",
    ]
    for name in MODELS:
        f = measure(name)
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
    TARGET.write_text(source())
