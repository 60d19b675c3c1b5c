"""Gridding of dilated convolutions: which positions a stack of them never reads (hybrid dilated convolution, HDC).

Wang et al. 2017, "Understanding convolution for semantic segmentation", arXiv 1702.08502, section 3.2.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_cnn.inspection.layers import Layer
from lit_cnn.inspection.receptive_field import ConvChain, hdc
from lit_cnn.inspection.tables import sides

LISTED = 8  # numbers of rows that a line lists


@dataclass(frozen=True)
class DilatedStack:
    """Successive convolutions without a change of the map's size in between, some of them dilated.

    Attributes:
        layer: name of the last one.
        conv_chains: along rows and along columns, those whose kernel is longer than 1 along that axis.
        stride: distance in input pixels, along rows and columns, of neighbouring positions of the first one's input;
            (1, 1) where these are pixels.
        image_gaps: number of input pixels inside the window of the last one's receptive field that it does not read.
    """

    layer: str
    conv_chains: tuple[ConvChain, ConvChain]
    stride: tuple[int, int]
    image_gaps: int

    @property
    def first(self) -> str:
        """Name of the first convolution."""
        return next(chain[0].layer for chain in sorted(self.conv_chains, key=len, reverse=True))

    @property
    def m2(self) -> tuple[int | None, int | None]:
        """M2 of the HDC rule along rows and columns, see ``lit_cnn.inspection.receptive_field.hdc``.

        ``None`` along an axis without dilation or with a single convolution, whose gaps no other fills.
        """
        rows, columns = ([step.dilation for step in chain] for chain in self.conv_chains)
        return _m2(rows), _m2(columns)

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the receptive field of the last one in the input of the first, gaps included."""
        rows, columns = self.paths().shape
        return rows, columns

    @property
    def missed(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows and columns of the window that are never read. A position is read if neither is here."""
        rows, columns = (tuple((_paths(chain) == 0).nonzero().flatten().tolist()) for chain in self.conv_chains)
        return rows, columns

    @property
    def gaps(self) -> int:
        """Number of positions of the window that are never read."""
        return int((self.paths() == 0).sum())

    def paths(self) -> Tensor:
        """Number of paths from each position of the window to the unit, int64 (height, width)."""
        rows, columns = self.conv_chains
        return _paths(rows)[:, None] * _paths(columns)


def _m2(dilations: list[int]) -> int | None:
    return hdc(dilations) if len(dilations) > 1 and max(dilations) > 1 else None


def _paths(chain: ConvChain) -> Tensor:
    """Number of paths from each position along one axis to the unit, int64 (side,)."""
    line = torch.ones(1, dtype=torch.int64)
    for step in chain:
        longer = torch.zeros(len(line) + step.dilation * (step.kernel - 1), dtype=torch.int64)
        for tap in range(step.kernel):
            longer[tap * step.dilation : tap * step.dilation + len(line)] += line
        line = longer
    return line


def dilated_stacks(layers: list[Layer]) -> list[DilatedStack]:
    """The gridding check: every longest stack of convolutions of which at least one is dilated.

    Of stacks with the same kernels, dilations and stride, as in repeated blocks, only the first.
    """
    found: list[DilatedStack] = []
    for layer in layers:
        field = layer.receptive_field
        if (
            not layer.leaf
            or field is None
            or not any(step.dilation > 1 for chain in field.conv_chains for step in chain)
        ):
            continue
        found.append(DilatedStack(layer.name, field.conv_chains, field.stride, field.gaps))
    longest = [stack for stack in found if not any(_begins(stack, other) for other in found)]
    alike = {(_shape(stack.conv_chains), stack.stride): stack for stack in reversed(longest)}
    return list(reversed(alike.values()))


def _begins(stack: DilatedStack, other: DilatedStack) -> bool:
    """Whether ``other`` continues where ``stack`` ends."""
    same = all(long[: len(short)] == short for short, long in zip(stack.conv_chains, other.conv_chains, strict=True))
    return same and stack.conv_chains != other.conv_chains


def _shape(conv_chains: tuple[ConvChain, ConvChain]) -> tuple[tuple[tuple[int, int], ...], ...]:
    return tuple(tuple((step.kernel, step.dilation) for step in chain) for chain in conv_chains)


def gridding_summary(stack: DilatedStack) -> str:
    """One line: the HDC rule along each axis, and the positions of the stack's input that no unit reads."""
    rows, columns = (_rule(chain, m2) for chain, m2 in zip(stack.conv_chains, stack.m2, strict=True))
    rule = rows if rows == columns else f"rows: {rows}; columns: {columns}"
    height, width = stack.window
    pixels = stack.stride == (1, 1)
    where = "pixels" if pixels else f"positions of the input of {stack.first}, {sides(stack.stride)} pixels apart,"
    line = f"gridding check up to {stack.layer}, {rule}; "
    line += f"of the {height}x{width} {where} {stack.gaps} are never read"
    if stack.gaps:
        across, along = (_listed(missed) for missed in stack.missed)
        line += " (gridding): "
        if across == along:
            line += f"those in rows or columns {across} of 0 to {height - 1}"
        else:
            both = ((f"rows {across} of 0 to {height - 1}", across), (f"columns {along} of 0 to {width - 1}", along))
            line += "those in " + " or ".join(text for text, missed in both if missed)
    if not pixels or stack.image_gaps != stack.gaps:  # shortcuts around the stack may fill gaps
        line += f"; of the image's pixels in its receptive field {stack.image_gaps} are never read"
    return line


def _rule(chain: ConvChain, m2: int | None) -> str:
    dilations = [step.dilation for step in chain]
    if max(dilations, default=1) == 1:
        return "no dilation"
    line = f"dilations {'-'.join(str(d) for d in dilations)}"
    if m2 is None:
        return f"{line}: no other convolution fills the gaps"
    # The first layer has to fill the gaps that the others leave.
    kernel = chain[0].kernel
    line += f": M2 = {m2} {'<=' if m2 <= kernel else '>'} {kernel}"
    divisor = math.gcd(*dilations)
    return f"{line}, common divisor {divisor}" if divisor > 1 else line


def _listed(numbers: tuple[int, ...]) -> str:
    """``1, 3, ..., 11`` for equal steps, else the first few of them."""
    if len(numbers) > 3 and len({b - a for a, b in itertools.pairwise(numbers)}) == 1:
        return f"{numbers[0]}, {numbers[1]}, ..., {numbers[-1]}"
    some = ", ".join(str(n) for n in numbers[:LISTED])
    return f"{some}, ..." if len(numbers) > LISTED else some
