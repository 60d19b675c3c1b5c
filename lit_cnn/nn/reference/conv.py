"""Convolution and transposed convolution written out with slices and one matrix product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.nn.reference.window import Setting, as_batch, borders, check_channels, like_input, map_size, pair


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Setting = 1,
    padding: Setting | str = 0,
    dilation: Setting = 1,
    groups: int = 1,
) -> Tensor:
    """2-D cross-correlation, equal to ``loops.conv2d_loops`` and ``torch.nn.functional.conv2d``.

    Every tap (u, v) of the kernel reads one strided slice of the image. The kH * kW slices concatenated are a matrix
    with one row per output pixel (im2col), and the convolution is that matrix times the kernels.

    Args:
        x: (N, C, H, W), or one image (C, H, W) or (H, W).
        weight: (O, C / groups, kH, kW), or one filter (C, kH, kW) or (kH, kW).
        bias: (O,).
        stride: for both axes, or (rows, columns); padding and dilation likewise.
        padding: also ``same`` or ``valid``.

    Returns:
        (N, O, H', W') with H' = (H + 2 * padding - dilation * (kH - 1) - 1) // stride + 1; of ``x``'s dtype, or
        under autocast of autocast's. Of one image without N, of one filter without O.

    Raises:
        ValueError: channels, filters and groups do not fit, or the kernel is larger than the padded image.
    """
    if x.dim() in (2, 3) or weight.dim() in (2, 3):
        out = conv2d(as_batch(x), as_batch(weight), bias, stride, padding, dilation, groups)
        return like_input(out, x, weight)
    check_channels(x, weight, groups)
    filters, group_channels, kh, kw = weight.shape
    (sh, sw), (dh, dw) = pair("stride", stride, 1), pair("dilation", dilation, 1)
    (top, bottom), (left, right) = border = borders(padding, (kh, kw), (sh, sw), (dh, dw))
    out_h, out_w = map_size(x, (kh, kw), (sh, sw), border, (dh, dw))
    n = x.shape[0]

    # Channels last: a slice is then copied in runs of C values, 1.2 times as fast here as NCHW.
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, top, bottom))  # N x H x W x C
    rows, columns = (out_h - 1) * sh + 1, (out_w - 1) * sw + 1
    slices = [x[:, u * dh : u * dh + rows : sh, v * dw : v * dw + columns : sw] for u in range(kh) for v in range(kw)]
    patches = torch.cat(slices, 3).view(n * out_h * out_w, kh * kw, groups, group_channels)
    patches = patches.permute(2, 0, 1, 3).flatten(2)  # groups x pixels x (kH * kW * C / groups)
    kernels = weight.view(groups, filters // groups, group_channels, kh, kw)
    kernels = kernels.permute(0, 3, 4, 2, 1).flatten(1, 3)  # groups x (kH * kW * C / groups) x O / groups
    out = (patches @ kernels).transpose(0, 1).reshape(n, out_h, out_w, filters)
    if bias is not None:
        out = out + bias.to(out.dtype)  # under autocast the product has another dtype
    return out.permute(0, 3, 1, 2)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Setting = 1,
    padding: Setting = 0,
    output_padding: Setting = 0,
    groups: int = 1,
    dilation: Setting = 1,
) -> Tensor:
    """Transposed convolution, equal to ``torch.nn.functional.conv_transpose2d``: ``conv2d``'s gradient to its input.

    Every input pixel adds its multiple of the kernel to the output; here all pixels at once, tap by tap.

    Args:
        x: (N, C, H, W), or one image (C, H, W) or (H, W).
        weight: (C, O / groups, kH, kW), or one kernel (kH, kW).
        bias: (O,).
        stride: for both axes, or (rows, columns); paddings and dilation likewise.
        output_padding: rows and columns added at the bottom and right, to choose among the sizes that ``conv2d``
            with this stride maps to H.

    Returns:
        (N, O, H', W') with H' = (H - 1) * stride - 2 * padding + dilation * (kH - 1) + 1 + output_padding; dtype and
        missing axes as ``conv2d``.

    Raises:
        ValueError: channels and groups do not fit, or the padding leaves no output.
    """
    if x.dim() in (2, 3) or weight.dim() == 2:
        out = conv_transpose2d(as_batch(x), as_batch(weight), bias, stride, padding, output_padding, groups, dilation)
        return like_input(out, x, weight)
    check_channels(x, weight, groups, transposed=True)
    n, channels, height, width = x.shape
    group_filters, kh, kw = weight.shape[1:]
    (sh, sw), (dh, dw) = pair("stride", stride, 1), pair("dilation", dilation, 1)
    (ph, pw), (extra_h, extra_w) = pair("padding", padding), pair("output_padding", output_padding)
    if extra_h >= max(sh, dh) or extra_w >= max(sw, dw):
        raise ValueError(f"output_padding {output_padding} must be below stride {stride} or dilation {dilation}")
    rows, columns = (height - 1) * sh + 1, (width - 1) * sw + 1
    full_h, full_w = rows + dh * (kh - 1) + extra_h, columns + dw * (kw - 1) + extra_w
    if full_h <= 2 * ph or full_w <= 2 * pw:
        raise ValueError(f"padding {padding} removes the entire output of {full_h}x{full_w}")

    pixels = x.view(n, groups, channels // groups, height, width)
    kernels = weight.view(groups, channels // groups, group_filters, kh, kw)
    shares = torch.einsum("ngchw,gcouv->uvngohw", pixels, kernels).flatten(3, 4)  # kH x kW x N x O x H x W
    out = shares.new_zeros(n, groups * group_filters, full_h, full_w)
    for u in range(kh):
        for v in range(kw):
            out[:, :, u * dh : u * dh + rows : sh, v * dw : v * dw + columns : sw] += shares[u, v]
    out = out[:, :, ph : full_h - ph, pw : full_w - pw]
    return out if bias is None else out + bias.to(out.dtype)[:, None, None]


class HandConv2d(nn.Conv2d):
    """``nn.Conv2d`` with its forward pass written out. (N, C, H, W) -> (N, O, H', W').

    Parameters, their initialisation and attributes are inherited, so whatever handles an ``nn.Conv2d`` (weight
    initialisation, state dicts, tables of layers) handles this too. It pads with zeros only.

    Speed compared with ``nn.Conv2d``: ``python -m benchmarks.hand_conv``.

    Raises:
        ValueError: arguments that fit no image; the message names them.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Setting,
        stride: Setting = 1,
        padding: Setting | str = 0,
        dilation: Setting = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups} must divide {in_channels} and {out_channels} channels")
        kernel = pair("kernel_size", kernel_size, 1)
        step, spacing = pair("stride", stride, 1), pair("dilation", dilation, 1)
        (top, _), (left, _) = borders(padding, kernel, step, spacing)
        side = padding if isinstance(padding, str) else (top, left)
        super().__init__(in_channels, out_channels, kernel, step, side, spacing, groups, bias)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def write_out_convolutions(model: nn.Module) -> int:
    """Make every ``nn.Conv2d`` that pads with zeros a ``HandConv2d`` of the same weights, in place.

    Returns:
        Their number.
    """
    layers = [m for m in model.modules() if type(m) is nn.Conv2d and m.padding_mode == "zeros"]
    for layer in layers:
        layer.__class__ = HandConv2d  # it adds no attributes
    return len(layers)


class DepthwiseSeparableConv2d(nn.Sequential):
    """One k x k filter per channel, then a 1x1 convolution across channels. (N, C, H, W) -> (N, O, H', W').

    Howard et al. 2017, MobileNets, arXiv 1704.04861, section 3.1: 1 / O + 1 / k² of a full convolution's work.
    Arguments as of ``HandConv2d``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Setting,
        stride: Setting = 1,
        padding: Setting | str = 0,
    ) -> None:
        super().__init__(
            HandConv2d(in_channels, in_channels, kernel_size, stride, padding, groups=in_channels),
            HandConv2d(in_channels, out_channels, 1),
        )
