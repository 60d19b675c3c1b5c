"""Layers with a deterministic backward pass on CUDA: adaptive average pooling, local response normalization.

torch has none for ``adaptive_avg_pool2d`` and ``avg_pool3d``, and stops a run that asks for deterministic algorithms
(torch 2.14). Without that request, and on other devices, these are torch's own layers, bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _needs_deterministic(x: Tensor) -> bool:
    return x.device.type == "cuda" and torch.are_deterministic_algorithms_enabled()


def adaptive_avg_pool2d(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Average (N, C, H, W) over windows to (N, C, *size); the identity where H x W is ``size``."""
    if x.shape[-2:] == size:
        return x
    if size == (1, 1) or not _needs_deterministic(x):
        return F.adaptive_avg_pool2d(x, size)
    return deterministic_avg_pool2d(x, size)


def deterministic_avg_pool2d(x: Tensor, size: tuple[int, int]) -> Tensor:
    """As ``F.adaptive_avg_pool2d`` of (N, C, H, W) to (N, C, *size), within rounding: one window after another."""
    kernel = x.shape[-2] // size[0], x.shape[-1] // size[1]
    if x.shape[-2:] == (kernel[0] * size[0], kernel[1] * size[1]):
        return F.avg_pool2d(x, kernel)
    for dim, count in zip((-2, -1), size, strict=True):
        length = x.shape[dim]
        windows = [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
        x = torch.stack([x.narrow(dim, start, end - start).mean(dim) for start, end in windows], dim)
    return x


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """``nn.AdaptiveAvgPool2d`` to a side, or to (height, width)."""

    def forward(self, input: Tensor) -> Tensor:  # torch's own name, which shadows a builtin
        """(N, C, H, W) -> (N, C, height, width)."""
        size = self.output_size
        height, width = (size, size) if isinstance(size, int | None) else size
        return adaptive_avg_pool2d(input, (height or input.shape[-2], width or input.shape[-1]))


class LocalResponseNorm(nn.LocalResponseNorm):
    """``nn.LocalResponseNorm``."""

    def forward(self, input: Tensor) -> Tensor:  # torch's own name, which shadows a builtin
        """(N, C, H, W) -> the same shape."""
        if _needs_deterministic(input):  # of rows, torch takes the mean by avg_pool2d
            return super().forward(input.flatten(2)).view(input.shape)
        return super().forward(input)


def replace_pooling(model: nn.Module) -> None:
    """Replace ``nn.AdaptiveAvgPool2d`` and ``nn.LocalResponseNorm`` in ``model`` by the layers above, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.AdaptiveAvgPool2d and child.output_size not in (1, (1, 1)):  # that one is a mean
                setattr(parent, name, AdaptiveAvgPool2d(child.output_size))
            elif type(child) is nn.LocalResponseNorm:
                setattr(parent, name, LocalResponseNorm(child.size, child.alpha, child.beta, child.k))
