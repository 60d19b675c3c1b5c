"""Max-pooling, average pooling and their unpooling, written out. Images may also be (C, H, W) or (H, W)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_cnn.nn.reference.window import Setting, map_size, pair


def _windows(x: Tensor, kernel: Setting, stride: Setting | None, padding: Setting, fill: float) -> Tensor:
    """Values of every window: (..., H, W) -> (kH * kW, ..., H', W')."""
    kh, kw = pair("kernel", kernel, 1)
    sh, sw = (kh, kw) if stride is None else pair("stride", stride, 1)
    ph, pw = pair("padding", padding)
    if ph > kh // 2 or pw > kw // 2:  # a window could consist of padding only
        raise ValueError(f"padding {padding} must be at most half of the {kh}x{kw} kernel")
    out_h, out_w = map_size(x, (kh, kw), (sh, sw), ((ph, ph), (pw, pw)))
    x = F.pad(x, (pw, pw, ph, ph), value=fill)
    rows, columns = (out_h - 1) * sh + 1, (out_w - 1) * sw + 1
    return torch.stack([x[..., u : u + rows : sh, v : v + columns : sw] for u in range(kh) for v in range(kw)])


def max_pool2d(
    x: Tensor, kernel: Setting, stride: Setting | None = None, padding: Setting = 0
) -> tuple[Tensor, Tensor]:
    """Largest value of each window, and its position.

    Args:
        x: float (N, C, H, W).
        kernel: side of the window, or (rows, columns); stride and padding likewise.
        stride: ``kernel`` by default.
        padding: with minus infinity, so that the border is never the maximum; at most half the kernel.

    Returns:
        Values (N, C, H', W') and their positions in the image, ``row * W + column``, int64, for ``max_unpool2d``.

    Raises:
        ValueError: the kernel is larger than the padded image, or the padding than half the kernel.
    """
    windows = _windows(x, kernel, stride, padding, float("-inf"))
    values, winner = windows.max(0)
    position = torch.arange(x.shape[-2] * x.shape[-1], device=x.device).view((1,) * (x.dim() - 2) + x.shape[-2:])
    positions = _windows(position, kernel, stride, padding, 0).expand_as(windows)
    return values, positions.gather(0, winner[None])[0]


def avg_pool2d(x: Tensor, kernel: Setting, stride: Setting | None = None, padding: Setting = 0) -> Tensor:
    """Mean of each window, (N, C, H, W) -> (N, C, H', W'). Padded zeros count, as by default in PyTorch.

    Arguments and errors as of ``max_pool2d``.
    """
    return _windows(x, kernel, stride, padding, 0).mean(0)


def max_unpool2d(x: Tensor, positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Put each value back where ``max_pool2d`` took it from, zeros elsewhere. (N, C, H', W') -> (N, C, *size).

    Zeiler and Fergus 2013, "Visualizing and understanding convolutional networks", arXiv 1311.2901, section 2.1.
    """
    out = x.new_zeros(*x.shape[:-2], size[0] * size[1])
    return out.scatter(-1, positions.flatten(-2), x.flatten(-2)).view(*x.shape[:-2], *size)


def avg_unpool2d(x: Tensor, kernel: Setting) -> Tensor:
    """Average unpooling: copy each value to every pixel of its window. (N, C, H, W) -> (N, C, H * kH, W * kW).

    ``avg_pool2d`` with the same kernel takes it back. A ``kernel`` below 1 is a ValueError.
    """
    kh, kw = pair("kernel", kernel, 1)
    return x.repeat_interleave(kh, -2).repeat_interleave(kw, -1)
