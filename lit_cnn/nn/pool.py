"""Pooling and its reverse, written out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _windows(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Values of every window: (..., H, W) -> (kernel², ..., H', W')."""
    rows = (x.shape[-2] - kernel) // stride * stride + 1
    columns = (x.shape[-1] - kernel) // stride * stride + 1
    return torch.stack(
        [x[..., u : u + rows : stride, v : v + columns : stride] for u in range(kernel) for v in range(kernel)]
    )


def max_pool2d(x: Tensor, kernel: int, stride: int | None = None, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Largest value of each window, and where it was.

    Args:
        x: (N, C, H, W).
        stride: ``kernel`` by default.
        padding: with minus infinity, so that the border never wins.

    Returns:
        Values (N, C, H', W') and their positions in the image, ``row * W + column``, int64, for ``max_unpool2d``.
    """
    stride = stride or kernel
    height, width = x.shape[-2:]
    border = (padding,) * 4
    values, winner = _windows(F.pad(x, border, value=float("-inf")), kernel, stride).max(0)
    position = torch.arange(height * width, device=x.device).view(1, 1, height, width)
    positions = _windows(F.pad(position, border), kernel, stride).expand(-1, *x.shape[:2], -1, -1)
    return values, positions.gather(0, winner[None])[0]


def avg_pool2d(x: Tensor, kernel: int, stride: int | None = None, padding: int = 0) -> Tensor:
    """Mean of each window, (N, C, H, W) -> (N, C, H', W'). Padded zeros count, as by default in PyTorch."""
    return _windows(F.pad(x, (padding,) * 4), kernel, stride or kernel).mean(0)


def max_unpool2d(x: Tensor, positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Put each value back where ``max_pool2d`` took it from, zeros elsewhere. (N, C, H', W') -> (N, C, *size).

    Zeiler and Fergus 2013, "Visualizing and understanding convolutional networks", arXiv 1311.2901, section 2.1.
    """
    out = x.new_zeros(*x.shape[:2], size[0] * size[1])
    return out.scatter(2, positions.flatten(2), x.flatten(2)).view(*x.shape[:2], *size)
