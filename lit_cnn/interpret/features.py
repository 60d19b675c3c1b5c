"""Features that a network's head gets of an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.models._freeze import find_head


@torch.no_grad()
def head_inputs(network: nn.Module, images: Tensor) -> Tensor:
    """Inputs of the head, float (N, D); of a 1x1 convolution the mean over its positions.

    Args:
        network: a classifier in evaluation mode.
        images: float (N, C, H, W), as the network gets them.

    Raises:
        UserError: it has no head, or does not run it.
    """
    head, inputs = find_head(network), list[Tensor]()
    hook = network.get_submodule(head).register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    try:
        network.forward(images)  # not called: a compiled graph has no hooks
    finally:
        hook.remove()
    if not inputs:
        raise UserError(f"{type(network).__name__} does not run its head ({head})")
    return as_vectors(inputs[-1])


def as_vectors(inputs: Tensor) -> Tensor:
    """Inputs of a head, (N, ...), as (N, D): of a 1x1 convolution, (N, D, h, w), the mean over its positions."""
    return inputs.mean(dim=(2, 3)) if inputs.ndim == 4 else inputs.flatten(1)
