"""Resize and crop inside a graph, with the bits that Pillow gives to the images of an evaluation."""

from __future__ import annotations

import functools

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lit_cnn.data.decoding.geometry import GREY_PADDING, PADDING, Geometry

_BITS = 22  # of Pillow's fixed-point coefficients: PRECISION_BITS in its Resample.c


def _length(image: Tensor, dim: int) -> Tensor:
    """The size of a dimension as a float64 scalar of the graph, also where it is known only when the graph runs."""
    return torch.scalar_tensor(image.shape[dim], dtype=torch.float64)


def _coefficients(image: Tensor, dim: int, full: Tensor, start: Tensor, count: int) -> Tensor:
    """Pillow's coefficients of a bilinear, antialiased resize along one dimension (``precompute_coeffs``).

    Args:
        image: (N, C, H, W), of which only the size matters.
        dim: 2 or 3.
        full: length of the resized image, float64 scalar.
        start: its first row or column that is wanted.
        count: how many are.

    Returns:
        float64 (count, length), whole numbers: the coefficients times 2**22.
    """
    length = _length(image, dim)
    scale = length / full
    support = scale.clamp(min=1.0)  # half the width of the triangle, in pixels of the given image
    center = (torch.arange(count, dtype=torch.float64) + start + 0.5) * scale
    first = torch.floor(center - support + 0.5).clamp(min=0.0)[:, None]
    last = torch.minimum(torch.floor(center + support + 0.5), length)[:, None]
    position = torch.arange(image.shape[dim], dtype=torch.float64)[None]
    weight = (1.0 - ((position - center[:, None] + 0.5) * (1.0 / support)).abs()).clamp(min=0.0)
    weight = torch.where((position >= first) & (position < last), weight, 0.0)
    total = weight.sum(1, keepdim=True)
    weight = weight / torch.where(total == 0.0, 1.0, total)  # nothing lies under a row of letterbox's border
    return torch.floor(weight * float(1 << _BITS) + 0.5)


def _rounded(sums: Tensor) -> Tensor:
    """Sums of pixels times coefficients as pixels, as Pillow rounds them after each of its two passes."""
    return torch.floor((sums + float(1 << (_BITS - 1))) / float(1 << _BITS)).clamp(0.0, 255.0)


@functools.cache
def vertical_first() -> bool:
    """Whether the installed Pillow resizes images that lose more than twice as many rows as columns vertically first.

    From version 13 on it does, which changes some values by 1 of 255, since it rounds after the first pass.
    """
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8))
    at_once = np.asarray(image.resize((40, 8), Image.Resampling.BILINEAR))
    in_two = image.resize((32, 8), Image.Resampling.BILINEAR).resize((40, 8), Image.Resampling.BILINEAR)
    return bool((at_once == np.asarray(in_two)).all())


def _across_first(image: Tensor, down: Tensor, across: Tensor) -> Tensor:
    return _rounded(down @ _rounded(image.double() @ across.T))


def _down_first(image: Tensor, down: Tensor, across: Tensor) -> Tensor:
    return _rounded(_rounded(down @ image.double()) @ across.T)


class PillowResize(nn.Module):
    """Resize and crop images as :func:`lit_cnn.data.decoding.geometry.to_size`, bit for bit.

    Sums are of whole numbers below 2**53 in float64, so that their order changes no bit. The only departure is that of
    images of more than 16 million pixels once resized, which the data modules resize in part: there a value may differ
    by 1 of 255.

    Args:
        geometry: the size of the result, and how it comes about.
    """

    border: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.height, self.width, self.how = geometry.height, geometry.width, geometry.eval_resize
        share = geometry.eval_crop
        self.tall, self.wide = (max(side, round(side / share)) for side in (self.height, self.width))
        border = PADDING if geometry.channels == 3 else (GREY_PADDING,)
        self.register_buffer("border", torch.tensor(border, dtype=torch.float64)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 (N, C, H, W) to whole numbers, float64 (N, C, height, width)."""
        rows, columns = _length(image, 2), _length(image, 3)
        full_h, full_w, top, left = self._placement(rows, columns)
        across = _coefficients(image, 3, full_w, left, self.width)
        down = _coefficients(image, 2, full_h, top, self.height)
        if vertical_first():
            shorter = rows - full_h > (2.0 * (columns - full_w)).clamp(min=0.0)
            if torch.compiler.is_compiling():  # the graph decides when it runs
                out = torch.cond(shorter, _down_first, _across_first, (image, down, across))
            else:
                out = (_down_first if shorter else _across_first)(image, down, across)
        else:
            out = _across_first(image, down, across)
        if self.how == "letterbox":
            y = (torch.arange(self.height, dtype=torch.float64) + top)[:, None]
            x = (torch.arange(self.width, dtype=torch.float64) + left)[None]
            inside = (y >= 0) & (y < full_h) & (x >= 0) & (x < full_w)
            out = torch.where(inside, out, self.border)
        return out

    def _placement(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Height and width of the whole resized image, and the row and column of it where the result begins."""
        height, width, zero = (torch.tensor(float(v), dtype=torch.float64) for v in (self.height, self.width, 0))
        if self.how == "stretch":
            return height, width, zero, zero
        if self.how == "letterbox":
            scale = torch.minimum(height / rows, width / columns)
            full_h = torch.minimum(height, torch.round(rows * scale).clamp(min=1.0))
            full_w = torch.minimum(width, torch.round(columns * scale).clamp(min=1.0))
            return full_h, full_w, -torch.round((height - full_h) / 2), -torch.round((width - full_w) / 2)
        upright = columns * self.tall <= rows * self.wide
        full_h = torch.where(upright, torch.floor(self.wide * rows / columns), float(self.tall))
        full_w = torch.where(upright, float(self.wide), torch.floor(self.tall * columns / rows))
        return full_h, full_w, torch.round((full_h - height) / 2), torch.round((full_w - width) / 2)
