"""Up-sampling (nearest, bilinear, trilinear), written out. Linear interpolation is done one axis after another.

Images may also lack N, or N and C: the sizes are those of the last axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def _nearest(x: Tensor, dim: int, size: int) -> Tensor:
    """Output i takes input floor(i * (in / out)), computed in float32 as torch does, with its rounding."""
    length = x.shape[dim]
    position = torch.arange(size, device=x.device, dtype=torch.float32) * (length / size)
    return x.index_select(dim, position.long().clamp(max=length - 1))


def _linear(x: Tensor, dim: int, size: int, align_corners: bool) -> Tensor:
    """Weighted mean of the two nearest inputs along one axis."""
    length = x.shape[dim]
    i = torch.arange(size, device=x.device, dtype=x.dtype)
    if align_corners:  # the centres of the first and last pixels stay where they are
        position = i * ((length - 1) / (size - 1)) if size > 1 else torch.zeros_like(i)
    else:  # the outer edges of the first and last pixels do
        position = ((i + 0.5) * (length / size) - 0.5).clamp(min=0)
    low = position.floor().long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    share = (position - low).view(-1, *[1] * (x.dim() - 1 - dim))
    return x.index_select(dim, low) * (1 - share) + x.index_select(dim, high) * share


def _check(x: Tensor, size: Sequence[int], axes: int | None = None) -> None:
    """Refuse a size that does not give every side, of ``axes`` axes if there is only one number of them."""
    if len(size) != (axes or len(size)) or x.dim() - len(size) not in (0, 1, 2) or min(size, default=0) < 1:
        raise ValueError(f"size must give every side after (N, C) of shape {tuple(x.shape)}, got {tuple(size)}")


def _interpolate(x: Tensor, size: Sequence[int], axes: int, align_corners: bool) -> Tensor:
    _check(x, size, axes)
    out = x.to(torch.promote_types(x.dtype, torch.float32))  # bfloat16 cannot represent all positions beyond 256
    for dim, length in enumerate(size, start=x.dim() - axes):
        out = _linear(out, dim, length, align_corners)
    return out.to(x.dtype)


def nearest(x: Tensor, size: Sequence[int]) -> Tensor:
    """Repeat the nearest pixel. (N, C, *spatial) -> (N, C, *size). A ``size`` that does not fit is a ValueError.

    Equal to ``torch.nn.functional.interpolate(mode="nearest")`` up to float32, rounding included: from 2 to 82 pixels,
    output 41 takes input 0, although 41 * 2 / 82 is 1, for 2 / 82 in float32 is less. For float64 torch's
    result depends on the memory layout; here it is that of float32.
    """
    _check(x, size)
    for dim, length in enumerate(size, start=x.dim() - len(size)):
        x = _nearest(x, dim, length)
    return x


def nearest_exact(x: Tensor, size: Sequence[int]) -> Tensor:
    """Repeat the pixel whose centre is closest. (N, C, *spatial) -> (N, C, *size), errors as of ``nearest``.

    ``nearest`` takes the input under the output pixel's first corner: from 3 to 2 pixels 0 and 1. Here the middle of
    output i is compared, floor((i + 0.5) * (in / out)): from 3 to 2, 0 and 2. Equal to
    ``torch.nn.functional.interpolate(mode="nearest-exact")`` but where two pixels are equally close: there it is the
    second one, and in torch float32's rounding decides, otherwise for one axis than for two.
    """
    _check(x, size)
    for dim, length in enumerate(size, start=x.dim() - len(size)):
        index = (2 * torch.arange(length, device=x.device) + 1) * x.shape[dim] // (2 * length)
        x = x.index_select(dim, index)
    return x


def bilinear(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Linear interpolation over height and width. (N, C, H, W) -> (N, C, *size), errors as of ``nearest``."""
    return _interpolate(x, size, 2, align_corners)


def trilinear(x: Tensor, size: tuple[int, int, int], align_corners: bool = False) -> Tensor:
    """Linear interpolation over depth, height and width. (N, C, D, H, W) -> (N, C, *size), errors as of ``nearest``."""
    return _interpolate(x, size, 3, align_corners)
