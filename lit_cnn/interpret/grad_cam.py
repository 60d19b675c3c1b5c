"""Grad-CAM and LayerCAM: which parts of an image speak for a class.

Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2; Jiang et al. 2021, "LayerCAM", equations 5 to 7.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.interpret.activations import activations, to_map

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
    gradient, activation = _gradients(network, images, classes, layer)
    return _heat(gradient.mean(dim=(2, 3), keepdim=True) * activation, images)


def layer_cam(network: nn.Module, images: Tensor, classes: Tensor, layer: str | None = None) -> Tensor:
    """Heat maps float32 (N, H, W) in [0, 1], as those of :func:`grad_cam` but sharper in layers of many positions.

    Each activation is weighted by its own gradient, where that is above 0, and not by the mean of its channel.

    Args:
        network: a classifier in evaluation mode; neither its gradients nor its hooks are changed.
        images: float (N, C, H, W), as the network gets them.
        classes: int64 (N,), the classes to explain.
        layer: name of a module with an output of several positions; None: :func:`find_layer`.

    Raises:
        UserError: there is no such layer.
    """
    gradient, activation = _gradients(network, images, classes, layer)
    return _heat(gradient.relu() * activation, images)


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
    logits, found = activations(network, example, names)  # inside attention are heads and tokens, not maps
    with torch.enable_grad():
        score = logits.float().pow(2).sum()
    for name, activation in list(reversed(found.items()))[:_TRIED]:
        (gradient,) = torch.autograd.grad(score, activation, allow_unused=True, retain_graph=True)
        if gradient is not None and int((to_map(gradient).abs().amax(1) > 0).sum()) > 1:
            return name
    raise UserError(f"{type(network).__name__} has no layer with an output of several positions: there is no map")


def _gradients(network: nn.Module, images: Tensor, classes: Tensor, layer: str | None) -> tuple[Tensor, Tensor]:
    """Gradients of the classes' logits by a layer's output, and that output, both float32 (N, C, h, w)."""
    name = find_layer(network, images[:1]) if layer is None else layer
    logits, found = activations(network, images, [name])
    if name not in found:
        raise UserError(f"{type(network).__name__} has no layer {name!r} with an output of several positions")
    with torch.enable_grad():
        score = logits.float().gather(1, classes.view(-1, 1)).sum()
    gradient = torch.autograd.grad(score, found[name], allow_unused=True)[0]
    if gradient is None:
        raise UserError(f"the logits of {type(network).__name__} do not depend on its layer {name!r}")
    return to_map(gradient).float(), to_map(found[name].detach()).float()


def _heat(parts: Tensor, images: Tensor) -> Tensor:
    """Maps (N, H, W) in [0, 1] of the parts (N, C, h, w) that are added up over the channels."""
    heat = parts.sum(1, keepdim=True).relu()
    heat = F.interpolate(heat, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    top = heat.amax(dim=(1, 2), keepdim=True)
    return torch.where(top > 0, heat / top.clamp_min(torch.finfo(torch.float32).tiny), 0.0)
