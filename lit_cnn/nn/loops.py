"""Convolution and pooling by their definitions, one output value at a time. For reading; too slow to train with."""

from __future__ import annotations

import torch
from torch import Tensor


def conv2d_loops(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """2-D cross-correlation: what deep learning calls convolution.

    Output ``[n, o, i, j] = bias[o] + sum over c, u, v of
    x[n, c, i * stride - padding + u * dilation, j * stride - padding + v * dilation] * weight[o, c, u, v]``,
    where pixels outside the image count as 0 and ``c`` runs over the channels of ``o``'s group.

    Args:
        x: (N, C, H, W).
        weight: (O, C / groups, kH, kW).
        bias: (O,).

    Returns:
        (N, O, H', W') with H' = (H + 2 * padding - dilation * (kH - 1) - 1) // stride + 1.
    """
    n_images, channels, height, width = x.shape
    n_filters, group_channels, kh, kw = weight.shape
    if channels != group_channels * groups or n_filters % groups:
        raise ValueError(f"{channels} channels and {n_filters} filters in {groups} groups do not fit {weight.shape}")
    out_h = (height + 2 * padding - dilation * (kh - 1) - 1) // stride + 1
    out_w = (width + 2 * padding - dilation * (kw - 1) - 1) // stride + 1
    out = torch.zeros(n_images, n_filters, out_h, out_w, dtype=x.dtype)
    for n in range(n_images):
        for o in range(n_filters):
            group = o // (n_filters // groups)
            for i in range(out_h):
                for j in range(out_w):
                    total = bias[o] if bias is not None else torch.zeros((), dtype=x.dtype)
                    for c in range(group_channels):
                        for u in range(kh):
                            for v in range(kw):
                                row = i * stride - padding + u * dilation
                                column = j * stride - padding + v * dilation
                                if 0 <= row < height and 0 <= column < width:
                                    pixel = x[n, group * group_channels + c, row, column]
                                    total = total + pixel * weight[o, c, u, v]
                    out[n, o, i, j] = total
    return out


def conv_transpose2d_loops(x: Tensor, weight: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """Transposed convolution: every input value adds a copy of the kernel, times itself, to the output.

    Args:
        x: (N, C, H, W).
        weight: (C, O, kH, kW), as in PyTorch.

    Returns:
        (N, O, (H - 1) * stride - 2 * padding + kH, the same for W).
    """
    n_images, channels, height, width = x.shape
    kh, kw = weight.shape[2:]
    out = torch.zeros(n_images, weight.shape[1], (height - 1) * stride + kh, (width - 1) * stride + kw, dtype=x.dtype)
    for n in range(n_images):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    top, left = i * stride, j * stride
                    out[n, :, top : top + kh, left : left + kw] += x[n, c, i, j] * weight[c]
    return out[:, :, padding : out.shape[2] - padding, padding : out.shape[3] - padding]


def pool2d_loops(x: Tensor, kernel: int, stride: int, mode: str) -> Tensor:
    """Maximum (``max``) or mean (``avg``) of each window. (N, C, H, W) -> (N, C, H', W')."""
    out_h, out_w = (x.shape[2] - kernel) // stride + 1, (x.shape[3] - kernel) // stride + 1
    out = torch.zeros(*x.shape[:2], out_h, out_w, dtype=x.dtype)
    for i in range(out_h):
        for j in range(out_w):
            window = x[:, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            out[:, :, i, j] = window.amax((2, 3)) if mode == "max" else window.mean((2, 3))
    return out
