"""Convolutions written out with slices and one matrix product. ``loops.py`` has the definitions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """2-D cross-correlation, equal to ``loops.conv2d_loops`` and ``torch.nn.functional.conv2d``.

    Every tap (u, v) of the kernel meets the image in one strided slice, a shifted copy. The kH * kW slices side by
    side are a matrix with one row per output pixel, and the convolution is that matrix times the kernels.

    Args:
        x: (N, C, H, W).
        weight: (O, C / groups, kH, kW).
        bias: (O,).

    Returns:
        (N, O, H', W') with H' = (H + 2 * padding - dilation * (kH - 1) - 1) // stride + 1.

    Raises:
        ValueError: channels, filters and groups do not fit, or the kernel is larger than the padded image.
    """
    n, channels, height, width = x.shape
    filters, group_channels, kh, kw = weight.shape
    if channels != group_channels * groups or filters % groups:
        raise ValueError(f"{channels} channels in {groups} groups do not fit a weight of shape {tuple(weight.shape)}")
    out_h = (height + 2 * padding - dilation * (kh - 1) - 1) // stride + 1
    out_w = (width + 2 * padding - dilation * (kw - 1) - 1) // stride + 1
    if out_h < 1 or out_w < 1:
        raise ValueError(f"a {kh}x{kw} kernel with dilation {dilation} is larger than the padded image")

    # Channels last: a slice is then copied in runs of C values, which is 1.2 times as fast here as in NCHW.
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))  # N x H x W x C
    rows, columns = (out_h - 1) * stride + 1, (out_w - 1) * stride + 1
    slices = [
        x[:, u * dilation : u * dilation + rows : stride, v * dilation : v * dilation + columns : stride]
        for u in range(kh)
        for v in range(kw)
    ]
    patches = torch.cat(slices, 3).view(n * out_h * out_w, kh * kw, groups, group_channels)
    patches = patches.permute(2, 0, 1, 3).flatten(2)  # groups x pixels x (kH * kW * C / groups)
    kernels = weight.view(groups, filters // groups, group_channels, kh, kw)
    kernels = kernels.permute(0, 3, 4, 2, 1).flatten(1, 3)  # groups x (kH * kW * C / groups) x O / groups
    out = (patches @ kernels).transpose(0, 1).reshape(n, out_h, out_w, filters)
    if bias is not None:
        out = out + bias
    return out.permute(0, 3, 1, 2)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
) -> Tensor:
    """Transposed convolution, equal to ``torch.nn.functional.conv_transpose2d``: ``conv2d``'s gradient to its input.

    Every input pixel adds its multiple of the kernel to the output; here all pixels do so at once, tap by tap.

    Args:
        x: (N, C, H, W).
        weight: (C, O / groups, kH, kW).
        bias: (O,).
        output_padding: rows and columns added at the bottom and right, to choose among the sizes that ``conv2d``
            with this stride maps to H.

    Returns:
        (N, O, H', W') with H' = (H - 1) * stride - 2 * padding + dilation * (kH - 1) + 1 + output_padding.
    """
    n, channels, height, width = x.shape
    group_filters, kh, kw = weight.shape[1:]
    rows, columns = (height - 1) * stride + 1, (width - 1) * stride + 1
    full_h, full_w = rows + dilation * (kh - 1) + output_padding, columns + dilation * (kw - 1) + output_padding
    out = x.new_zeros(n, groups * group_filters, full_h, full_w)
    pixels = x.view(n, groups, channels // groups, height, width)
    kernels = weight.view(groups, channels // groups, group_filters, kh, kw)
    for u in range(kh):
        for v in range(kw):
            share = torch.einsum("ngchw,gco->ngohw", pixels, kernels[..., u, v]).flatten(1, 2)
            top, left = u * dilation, v * dilation
            out[:, :, top : top + rows : stride, left : left + columns : stride] += share
    out = out[:, :, padding : full_h - padding, padding : full_w - padding]
    return out if bias is None else out + bias[:, None, None]


class HandConv2d(nn.Module):
    """``nn.Conv2d`` by hand: same parameters, same initialisation, same result. (N, C, H, W) -> (N, O, H', W').

    Its time beside that of ``nn.Conv2d``: ``python -m benchmarks.hand_conv``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups} must divide {in_channels} and {out_channels} channels")
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *kernel))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class DepthwiseSeparableConv2d(nn.Sequential):
    """One k x k filter per channel, then a 1x1 convolution across channels. (N, C, H, W) -> (N, O, H', W').

    Howard et al. 2017, MobileNets, arXiv 1704.04861, section 3.1: 1 / O + 1 / k² of a full convolution's work.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(
            HandConv2d(in_channels, in_channels, kernel_size, stride, padding, groups=in_channels),
            HandConv2d(in_channels, out_channels, 1),
        )
