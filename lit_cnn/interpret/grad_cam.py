"""Grad-CAM: which parts of an image speak for a class (Selvaraju et al. 2017, arXiv 1610.02391)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.models._freeze import find_head

_TRIED = 40  # layers before the head, the last ones first


def grad_cam(network: nn.Module, images: Tensor, classes: Tensor, layer: str | None = None) -> Tensor:
    """Heat maps float32 (N, H, W) in [0, 1], with a maximum of 1 unless nothing speaks for the class.

    Activations of a layer are weighted by the mean gradient of the class's logit over their positions and added up;
    what is below 0 speaks against the class and counts as 0.

    Args:
        network: a classifier in evaluation mode; neither its gradients nor its hooks are changed.
        images: float (N, C, H, W), as the network gets them.
        classes: int64 (N,), the classes to explain.
        layer: name of a module with an output of several positions; None: :func:`find_layer`.

    Raises:
        UserError: there is no such layer.
    """
    name = find_layer(network, images[:1]) if layer is None else layer
    found = _activations(network, images, [name])
    if name not in found[1]:
        raise UserError(f"{type(network).__name__} has no layer {name!r} with an output of several positions")
    return _maps(found[0], found[1][name], classes, tuple(images.shape[2:]))


def find_layer(network: nn.Module, example: Tensor) -> str:
    """Name of the last layer before the head whose output has several positions that the logits depend on.

    Of a vision transformer that is not the output of the last block, of which only one token goes on.

    Args:
        network: a classifier in evaluation mode.
        example: float (1, C, H, W).

    Raises:
        UserError: it has none, such as a multilayer perceptron.
    """
    inside = tuple(f"{name}." for name, module in network.named_modules() if "Attention" in type(module).__name__)
    names = [name for name, _ in network.named_modules() if name and not name.startswith(inside)]
    logits, found = _activations(network, example, names)  # inside attention are heads and tokens, not maps
    with torch.enable_grad():
        score = logits.float().pow(2).sum()
    for name, activation in list(reversed(found.items()))[:_TRIED]:
        (gradient,) = torch.autograd.grad(score, activation, allow_unused=True, retain_graph=True)
        if gradient is not None and int((_to_map(gradient).abs().amax(1) > 0).sum()) > 1:
            return name
    raise UserError(f"{type(network).__name__} has no layer with an output of several positions: there is no map")


def _activations(network: nn.Module, images: Tensor, names: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and outputs of those layers that run before the head and have several positions, in order."""
    found: dict[str, Tensor] = {}
    head_runs: list[bool] = []

    def keep(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            if head_runs or not isinstance(output, Tensor) or not _is_map(output):
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


def _maps(logits: Tensor, activation: Tensor, classes: Tensor, size: tuple[int, ...]) -> Tensor:
    with torch.enable_grad():
        score = logits.float().gather(1, classes.view(-1, 1)).sum()
    (gradient,) = torch.autograd.grad(score, activation)
    weights = _to_map(gradient).float().mean(dim=(2, 3), keepdim=True)
    heat = (weights * _to_map(activation.detach()).float()).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat, size, mode="bilinear", align_corners=False)[:, 0]
    top = heat.amax(dim=(1, 2), keepdim=True)
    return torch.where(top > 0, heat / top.clamp_min(torch.finfo(torch.float32).tiny), 0.0)


def _is_map(output: Tensor) -> bool:
    """Whether an output has several positions: (N, C, h, w), (N, h, w, C), or tokens (N, T, D) of a square image."""
    if output.ndim == 4:
        return output.shape[2] > 1 and (output.shape[3] > 1 or output.shape[1] > 1)
    return output.ndim == 3 and _side(output.shape[1]) > 1


def _side(tokens: int) -> int:
    """Side of the square that so many tokens are, without up to five that stand for no position; 0 for none."""
    side = math.isqrt(tokens)
    return side if tokens - side * side <= 5 else 0


def _to_map(values: Tensor) -> Tensor:
    """Values of a layer as (N, C, h, w)."""
    if values.ndim == 4:
        channels_last = values.shape[1] == values.shape[2] != values.shape[3]  # as Swin's, of a square image
        return values.permute(0, 3, 1, 2) if channels_last else values
    side = _side(values.shape[1])
    return values[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))
