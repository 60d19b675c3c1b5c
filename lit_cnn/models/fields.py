"""Receptive fields as sets: which input pixels each unit of a map depends on, carried through every operation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Axis(NamedTuple):
    """A set of pixel positions along one axis: bit i of ``mask`` is pixel ``first + i``. Bit 0 is always set."""

    first: int
    mask: int

    @property
    def last(self) -> int:
        return self.first + self.mask.bit_length() - 1

    def spread(self, offsets: Iterable[int]) -> Axis:
        """Union of copies of the set, one shifted by each offset."""
        offsets = list(offsets)
        low, mask = min(offsets), 0
        for offset in offsets:
            mask |= self.mask << (offset - low)
        return Axis(self.first + low, mask)

    def covers(self, other: Axis) -> bool:
        shift = other.first - self.first
        return shift >= 0 and (other.mask << shift) & ~self.mask == 0


Box = tuple[Axis, Axis]  # rows x columns


@dataclass(frozen=True)
class Field:
    """Receptive field of the units of one map. The unit in row i and column j depends on the pixels of ``boxes``,
    shifted by ``i * stride[0]`` rows and ``j * stride[1]`` columns. Pixels in the padding have positions below 0.

    Attributes:
        boxes: the pixels of the unit at row 0 and column 0, a union of products of a set of rows and one of columns.
        stride: distance of neighbouring units in input pixels; 0 once there is only one unit left.
        chain: kernel side and dilation of the convolutions since the map last changed its size, along the longest way.
    """

    boxes: tuple[Box, ...]
    stride: tuple[int, int]
    chain: tuple[tuple[int, int], ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the smallest window that holds the field, padding included."""
        top, left, bottom, right = self.window
        return bottom - top + 1, right - left + 1

    @property
    def window(self) -> tuple[int, int, int, int]:
        """First row, first column, last row, last column."""
        rows, columns = zip(*self.boxes, strict=True)
        return (
            min(a.first for a in rows), min(a.first for a in columns),
            max(a.last for a in rows), max(a.last for a in columns),
        )  # fmt: skip

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the first unit's window, in pixels: 0 is the middle of the first pixel."""
        top, left, bottom, right = self.window
        return (top + bottom) / 2, (left + right) / 2

    def touched(self) -> Tensor:
        """Bool map of the window: which of its pixels the unit depends on."""
        top, left, _, _ = self.window
        out = torch.zeros(self.size, dtype=torch.bool)
        for rows, columns in self.boxes:
            out |= _bits(rows, top, out.shape[0])[:, None] & _bits(columns, left, out.shape[1])
        return out

    @property
    def holes(self) -> int:
        """Number of pixels inside the window that the unit never sees."""
        return int((~self.touched()).sum())

    def taps(self, offsets: tuple[Sequence[int], Sequence[int]], stride: tuple[int, int]) -> Field:
        """Field after an operation whose output i reads the inputs ``i * stride + offset``, for every offset."""
        (sh, sw), (rows, columns) = self.stride, offsets
        boxes = [(r.spread(sh * o for o in rows), c.spread(sw * o for o in columns)) for r, c in self.boxes]
        return Field(_prune(boxes), (sh * stride[0], sw * stride[1]), self.chain)


def _bits(axis: Axis, start: int, length: int) -> Tensor:
    shift = axis.first - start
    return torch.tensor([i >= shift and bool(axis.mask >> (i - shift) & 1) for i in range(length)])


def _prune(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Leave out boxes that lie inside another."""
    kept: list[Box] = []
    for box in dict.fromkeys(boxes):
        if any(k[0].covers(box[0]) and k[1].covers(box[1]) for k in kept):
            continue
        kept = [k for k in kept if not (box[0].covers(k[0]) and box[1].covers(k[1]))]
        kept.append(box)
    return tuple(kept)


def image_field() -> Field:
    """Field of the image itself: each pixel sees itself."""
    return Field(((Axis(0, 1), Axis(0, 1)),), (1, 1))


def merge(fields: Sequence[Field]) -> Field | None:
    """Field of what depends on several maps at the same place (sum, concatenation); ``None`` if they do not line up."""
    strides = {field.stride for field in fields}
    if len(strides) != 1:
        return None
    boxes = _prune(box for field in fields for box in field.boxes)
    return Field(boxes, strides.pop(), max((field.chain for field in fields), key=len))


def hdc(dilations: Sequence[int]) -> int:
    """M2 of the hybrid dilated convolution rule: the largest gap left by the layers from the second on.

    Wang et al. 2017, arXiv 1702.08502, section 3.2, equation 2: with kernel side K the rule asks M2 <= K.
    It is necessary, not sufficient: 2-2-2 has M2 = 2 and never sees every second pixel, since its dilations have a
    common divisor.
    """
    gap = dilations[-1]
    for rate in reversed(dilations[1:-1]):
        gap = max(gap - 2 * rate, gap - 2 * (gap - rate), rate)
    return gap
