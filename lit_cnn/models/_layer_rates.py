"""Learning rates by depth: layer-wise decay (Bao et al., "BEiT", 2021, arXiv 2106.08254) and the head's own."""

from __future__ import annotations

from torch import nn

from lit_cnn.models._freeze import all_heads, blocks


def lr_scales(
    model: nn.Module, decay: float | None, head_scale: float | None, num_classes: int | None = None
) -> dict[str, float]:
    """Factor of the learning rate of each parameter, by name.

    Args:
        model: blocks are those that :func:`~lit_cnn.models._freeze.freeze` counts, from the front.
        decay: the last block has it as its factor, the one before its square, and so on; what is in no block has the
            factor of the first; ``None``: all have 1.
        head_scale: factor of the heads, auxiliary ones included; ``None``: 1.
        num_classes: K, to find the head by.
    """
    names, heads = blocks(model, num_classes), all_heads(model, num_classes)
    by_block = {name: (decay or 1.0) ** (len(names) - position) for position, name in enumerate(names)}
    lowest = (decay or 1.0) ** len(names)
    scales = {}
    for name, _ in model.named_parameters():
        if any(name.startswith(f"{head}.") for head in heads):
            scales[name] = 1.0 if head_scale is None else head_scale
        else:
            scales[name] = next((scale for block, scale in by_block.items() if name.startswith(f"{block}.")), lowest)
    return scales
