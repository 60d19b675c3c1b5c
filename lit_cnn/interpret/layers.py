"""What is inside a trained network: feature maps, filters of the first layer, weights, and what excites a filter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.interpret.activations import activations, to_map


@torch.no_grad()
def feature_maps(network: nn.Module, images: Tensor, layers: list[str]) -> dict[str, Tensor]:
    """Outputs of layers, float32 (N, C, h, w) each, in the order given.

    Args:
        network: a classifier in evaluation mode.
        images: float (N, C, H, W), as the network gets them.
        layers: names of modules before the head whose output has several positions.

    Raises:
        UserError: there is no such layer.
    """
    _, found = activations(network, images, layers)
    for name in layers:
        if name not in found:
            raise UserError(f"{type(network).__name__} has no layer {name!r} with an output of several positions")
    return {name: to_map(found[name].detach()).float() for name in layers}


def stages(network: nn.Module, example: Tensor, last: str) -> list[str]:
    """Names of the last layer of each resolution up to the layer ``last``, at most five of them, from the front.

    Args:
        network: a classifier in evaluation mode.
        example: float (1, C, H, W).
        last: as :func:`lit_cnn.interpret.grad_cam.find_layer` gives it.
    """
    inside = tuple(f"{name}." for name, module in network.named_modules() if "Attention" in type(module).__name__)
    names = [name for name, _ in network.named_modules() if name and not name.startswith(inside)]
    _, found = activations(network, example, names)
    by_size: dict[tuple[int, ...], str] = {}
    for name, output in found.items():
        size = tuple(to_map(output).shape[2:])
        by_size.pop(size, None)  # so that they stay in the order of these last layers
        by_size[size] = name
        if name == last:
            break
    return list(by_size.values())[-5:]


def first_filters(network: nn.Module, channels: int) -> tuple[str, Tensor] | None:
    """Name and weights float32 (F, C, h, w) of the first convolution of the image; None: there is none.

    Args:
        network: of any kind.
        channels: of the image.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == channels and max(module.kernel_size) > 1:
            return name, module.weight.detach().float().cpu()
    return None


def weight_matrices(network: nn.Module, most: int = 24) -> dict[str, Tensor]:
    """Weights of convolutions and dense layers by name, at most so many, evenly spaced over the network."""
    found = {name: value.detach().float().cpu() for name, value in network.named_parameters() if value.ndim > 1}
    names = list(found)
    if len(names) > most:
        names = [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
    return {name: found[name] for name in names}


def most_exciting(peaks: Tensor, filters: int, images: int) -> tuple[Tensor, Tensor]:
    """The most selective filters and the images that excite each of them most.

    A filter is selective whose largest peak stands out most from its mean over the images, in units of their standard
    deviation; one that always gives the same is never chosen before another.

    Args:
        peaks: float (N, F), the largest activation of each filter in each image.
        filters: at most so many filters.
        images: at most so many images of each.

    Returns:
        Numbers of the filters, int64 (f,), and of the images, int64 (f, n), the most exciting first.
    """
    spread = peaks.std(0, correction=0)
    outstanding = torch.where(spread > 0, (peaks.amax(0) - peaks.mean(0)) / spread.clamp_min(1e-12), -1.0)
    chosen = outstanding.argsort(descending=True, stable=True)[:filters]
    return chosen, peaks[:, chosen].argsort(dim=0, descending=True, stable=True)[:images].T
