"""Outputs of a network's layers as maps (N, C, h, w), whatever the network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.models._freeze import find_head


def activations(network: nn.Module, images: Tensor, names: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and outputs of those layers that run before the head and have several positions, in order."""
    found: dict[str, Tensor] = {}
    head_runs: list[bool] = []

    def keep(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            if head_runs or not isinstance(output, Tensor) or not is_map(output):
                return None
            # a copy, as the next layer may work in place; of frozen layers a start of the graph
            output = output.clone() if output.requires_grad else output.detach().requires_grad_()
            found.pop(name, None)  # of a layer that runs several times, the last
            found[name] = output
            return output

        return hook

    hooks: list[Any] = [
        network.get_submodule(name).register_forward_hook(keep(name)) for name in _known(network, names)
    ]
    head = network.get_submodule(find_head(network))
    hooks.append(head.register_forward_pre_hook(lambda *_: head_runs.append(True)))
    try:
        with torch.enable_grad():
            logits = network.forward(images)  # not called: a compiled graph has no hooks
    finally:
        for handle in hooks:
            handle.remove()
    return logits, found


def _known(network: nn.Module, names: list[str]) -> list[str]:
    modules = dict(network.named_modules())
    if missing := [name for name in names if name not in modules]:
        raise UserError(f"{type(network).__name__} has no layer {missing[0]!r}: lit-cnn inspect lists its layers")
    return names


def is_map(output: Tensor) -> bool:
    """Whether an output has several positions: (N, C, h, w), (N, h, w, C), or tokens (N, T, D) of a square image."""
    if output.ndim == 4:
        return output.shape[2] > 1 and (output.shape[3] > 1 or output.shape[1] > 1)
    return output.ndim == 3 and _side(output.shape[1]) > 1


def _side(tokens: int) -> int:
    """Side of the square that so many tokens are, without up to five that stand for no position; 0 for none."""
    side = math.isqrt(tokens)
    return side if tokens - side * side <= 5 else 0


def to_map(values: Tensor) -> Tensor:
    """Values of a layer as (N, C, h, w)."""
    if values.ndim == 4:
        channels_last = values.shape[1] == values.shape[2] != values.shape[3]  # as Swin's, of a square image
        return values.permute(0, 3, 1, 2) if channels_last else values
    side = _side(values.shape[1])
    return values[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))
