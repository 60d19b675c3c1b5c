"""The table and the totals of ``lit-cnn inspect``: layers with shapes, parameters, MACs and receptive fields."""

from __future__ import annotations

import math

from rich.table import Table
from torch import nn

from lit_cnn.inspection.layers import Layer
from lit_cnn.inspection.tables import format_int, format_si, sides, table
from lit_cnn.models import auxiliary_heads


def layers_at(layers: list[Layer], depth: int | None) -> list[Layer]:
    """The innermost layers, or those at ``depth`` where the modules are nested deeper."""
    if depth is None:
        return [layer for layer in layers if layer.leaf]
    return [layer for layer in layers if layer.depth == depth or (layer.leaf and layer.depth < depth)]


def rows_at(layers: list[Layer], depth: int | None) -> list[Layer]:
    """``layers_at`` without those that only change values: activations, dropout."""
    shown: list[Layer] = []
    for layer in layers_at(layers, depth):
        last = shown[-1] if shown else None
        same = last and (math.prod(layer.output), layer.receptive_field) == (
            math.prod(last.output),
            last.receptive_field,
        )
        if layer.parameters or layer.macs or not same:
            shown.append(layer)
    return shown


def layer_table(rows: list[Layer], title: str) -> Table:
    """A table with a line per layer."""
    out = table(
        title,
        "layer", "kind", "output", "parameters", "MACs", "field", "stride", "centre",
        numbers=("parameters", "MACs", "field", "stride", "centre"),
    )  # fmt: skip
    out.columns[2].no_wrap = True
    for layer in rows:
        output = "x".join(str(n) for n in layer.output)
        macs = format_si(layer.macs) if layer.macs else "0"
        out.add_row(layer.name, layer.kind, output, format_int(layer.parameters), macs, *_field_cells(layer))
    return out


def _field_cells(layer: Layer) -> tuple[str, str, str]:
    field = layer.receptive_field
    if layer.whole_image:
        return "all", "-", "-"
    if field is None:
        return "-", "-", "-"
    return sides(field.size), sides(field.stride), sides(field.centre)


def totals_line(model: nn.Module, layers: list[Layer], depth: int | None) -> str:
    """Parameters and MACs of the entire model, and the number of layers that the table skips."""
    total = layers[0]
    skipped = len(layers_at(layers, depth)) - len(rows_at(layers, depth))
    heads = sum(p.numel() for head in auxiliary_heads(model) for p in model.get_submodule(head).parameters())
    parts = f" ({format_int(total.parameters - heads)} in eval; +{format_int(heads)} in auxiliary heads, training only)"
    return (
        f"{format_int(total.parameters)} parameters{parts if heads else ''}, {format_si(total.macs)} "
        f"multiply-accumulates an image; layers without parameters that keep the map, not shown: {skipped}"
    )


def undefined_fields(layers: list[Layer]) -> list[str]:
    """A line for each reason for which receptive fields are undefined, with the first layer it holds for."""
    first = {layer.undefined_because: layer for layer in reversed(layers) if layer.undefined_because}
    return [f"no receptive field from {layer.name or 'the output'} on: {reason}" for reason, layer in first.items()]
