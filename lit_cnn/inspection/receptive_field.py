"""Receptive fields as exact sets of input pixels, propagated through convolutions, pooling and sums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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


class ConvStep(NamedTuple):
    """A convolution along one axis.

    Attributes:
        kernel: side of its kernel, 2 or more: with 1 it has no extent along this axis.
        dilation: step between the positions it reads.
        layer: its name.
    """

    kernel: int
    dilation: int
    layer: str = ""


ConvChain = tuple[ConvStep, ...]


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of the units of one map.

    The unit in row i and column j depends on the pixels of ``boxes`` shifted by ``i * stride[0]`` rows and
    ``j * stride[1]`` columns. Pixels in the padding have positions below 0.

    Attributes:
        boxes: the pixels of the unit at row 0 and column 0, a union of products of a set of rows and one of columns.
        stride: distance of neighbouring units in input pixels; 0 if the map has a single unit.
        conv_chains: along rows and along columns, the convolutions since the map last changed its size along that
            axis, on the longest path.
    """

    boxes: tuple[Box, ...]
    stride: tuple[int, int]
    conv_chains: tuple[ConvChain, ConvChain] = ((), ())

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
    def gaps(self) -> int:
        """Number of pixels inside the window that the unit does not depend on."""
        return int((~self.touched()).sum())

    def taps(self, offsets: tuple[Sequence[int], Sequence[int]], stride: tuple[int, int]) -> ReceptiveField:
        """Receptive field after an operation whose output i reads the inputs ``i * stride + offset``."""
        (sh, sw), (rows, columns) = self.stride, offsets
        boxes = [(r.spread(sh * o for o in rows), c.spread(sw * o for o in columns)) for r, c in self.boxes]
        old_rows, old_columns = self.conv_chains
        conv_chains = (old_rows if stride[0] == 1 else (), old_columns if stride[1] == 1 else ())
        return ReceptiveField(_prune(boxes), (sh * stride[0], sw * stride[1]), conv_chains)

    def convolved(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        layer: str = "",
    ) -> ReceptiveField:
        """Receptive field after a convolution (or any other window of this shape), as pairs of rows and columns.

        Args:
            padding: above and to the left.
            layer: name of the convolution, for ``conv_chains``; pooling has none there.
        """
        rows, columns = (range(-p, -p + k * d, d) for k, p, d in zip(kernel, padding, dilation, strict=True))
        after = self.taps((rows, columns), stride)
        if not layer:
            return after
        longer: list[ConvChain] = []
        for chain, k, s, d in zip(after.conv_chains, kernel, stride, dilation, strict=True):
            longer.append((*chain, ConvStep(k, d, layer)) if k > 1 and s == 1 else chain)
        return replace(after, conv_chains=(longer[0], longer[1]))


def _bits(axis: Axis, start: int, length: int) -> Tensor:
    shift = axis.first - start
    return torch.tensor([i >= shift and bool(axis.mask >> (i - shift) & 1) for i in range(length)])


def _prune(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Drop boxes that lie inside another."""
    kept: list[Box] = []
    for box in dict.fromkeys(boxes):
        if any(k[0].covers(box[0]) and k[1].covers(box[1]) for k in kept):
            continue
        kept = [k for k in kept if not (box[0].covers(k[0]) and box[1].covers(k[1]))]
        kept.append(box)
    return tuple(kept)


def image_field() -> ReceptiveField:
    """Receptive field of the image itself: each pixel depends on itself."""
    return ReceptiveField(((Axis(0, 1), Axis(0, 1)),), (1, 1))


def merge(fields: Sequence[ReceptiveField]) -> ReceptiveField | None:
    """Receptive field of a sum or concatenation of maps; ``None`` if their strides differ."""
    strides = {field.stride for field in fields}
    if len(strides) != 1:
        return None
    boxes = _prune(box for field in fields for box in field.boxes)
    longest = max((field.conv_chains for field in fields), key=lambda chains: sum(len(c) for c in chains))
    return ReceptiveField(boxes, strides.pop(), longest)


def hdc(dilations: Sequence[int]) -> int:
    """M2 of the hybrid dilated convolution rule: the largest gap left by the layers from the second on.

    Wang et al. 2017, arXiv 1702.08502, section 3.2, equation 2: with kernel side K the rule asks M2 <= K.
    It is necessary, not sufficient: 2-2-2 has M2 = 2 and skips every second pixel, since its dilations have a common
    divisor.
    """
    gap = dilations[-1]
    for rate in reversed(dilations[1:-1]):
        gap = max(gap - 2 * rate, gap - 2 * (gap - rate), rate)
    return gap
