"""Convolution and pooling by their definitions, one output value at a time; for reading, too slow to train with."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_cnn.nn.reference.window import Setting, as_batch, borders, check_channels, like_input, map_size, pair


def conv2d_loops(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Setting = 1,
    padding: Setting | str = 0,
    dilation: Setting = 1,
    groups: int = 1,
) -> Tensor:
    """2-D cross-correlation: what deep learning calls convolution.

    Output ``[n, o, i, j] = bias[o] + sum over c, u, v of
    x[n, c, i * stride - padding + u * dilation, j * stride - padding + v * dilation] * weight[o, c, u, v]``,
    where pixels outside the image count as 0 and ``c`` runs over the channels of ``o``'s group.

    Arguments, result and errors are those of ``conv.conv2d``.
    """
    if x.dim() in (2, 3) or weight.dim() in (2, 3):
        out = conv2d_loops(as_batch(x), as_batch(weight), bias, stride, padding, dilation, groups)
        return like_input(out, x, weight)
    check_channels(x, weight, groups)
    n_images, _, height, width = x.shape
    n_filters, group_channels, kh, kw = weight.shape
    (sh, sw), (dh, dw) = pair("stride", stride, 1), pair("dilation", dilation, 1)
    (top, _), (left, _) = border = borders(padding, (kh, kw), (sh, sw), (dh, dw))
    out_h, out_w = map_size(x, (kh, kw), (sh, sw), border, (dh, dw))
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
                                row = i * sh - top + u * dh
                                column = j * sw - left + v * dw
                                if 0 <= row < height and 0 <= column < width:
                                    pixel = x[n, group * group_channels + c, row, column]
                                    total = total + pixel * weight[o, c, u, v]
                    out[n, o, i, j] = total
    return out


def conv_transpose2d_loops(x: Tensor, weight: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """Transposed convolution: every input value adds a copy of the kernel, times itself, to the output.

    Args:
        x: (N, C, H, W), or one image (C, H, W) or (H, W).
        weight: (C, O, kH, kW), as in PyTorch, or one kernel (kH, kW).

    Returns:
        (N, O, (H - 1) * stride - 2 * padding + kH, the same for W), of one image without N, of one kernel without O.

    Raises:
        ValueError: the channels do not fit.
    """
    if x.dim() in (2, 3) or weight.dim() == 2:
        return like_input(conv_transpose2d_loops(as_batch(x), as_batch(weight), stride, padding), x, weight)
    check_channels(x, weight, 1, transposed=True)
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
    """Maximum (``max``) or mean (``avg``) of each window. (N, C, H, W) -> (N, C, H', W'), as well without C or N.

    Raises:
        ValueError: another mode, or the kernel is larger than the image.
    """
    if mode not in ("max", "avg"):
        raise ValueError(f"mode must be max or avg, got {mode!r}")
    out_h, out_w = map_size(x, (kernel, kernel), (stride, stride), ((0, 0), (0, 0)))
    out = torch.zeros(*x.shape[:-2], out_h, out_w, dtype=x.dtype)
    for i in range(out_h):
        for j in range(out_w):
            window = x[..., i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            out[..., i, j] = window.amax((-2, -1)) if mode == "max" else window.mean((-2, -1))
    return out
