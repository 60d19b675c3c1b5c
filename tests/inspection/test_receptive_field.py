from __future__ import annotations

import pytest
import torch

from lit_cnn.inspection.receptive_field import Axis, ConvStep, ReceptiveField, hdc, image_field, merge


def conv(field: ReceptiveField, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> ReceptiveField:
    return field.convolved((kernel, kernel), (stride, stride), (padding, padding), (dilation, dilation), "conv")


def test_kernels_that_are_not_square_grow_the_field_along_their_axes() -> None:
    field = image_field().convolved((1, 5), (1, 2), (0, 1), (1, 2), "a").convolved((3, 1), (1, 1), (1, 0), (1, 1), "b")
    assert (field.size, field.stride, field.window) == ((3, 9), (1, 2), (-1, -1, 1, 7))
    assert field.touched().tolist() == [[True, False, True, False, True, False, True, False, True]] * 3
    assert field.conv_chains == ((ConvStep(3, 1, "b"),), ())


def test_pooling_is_no_link_of_a_chain_and_ends_it_where_it_has_a_stride() -> None:
    field = conv(image_field(), 3).convolved((3, 3), (1, 1), (1, 1), (1, 1))
    assert field.conv_chains == ((ConvStep(3, 1, "conv"),), (ConvStep(3, 1, "conv"),))
    assert field.convolved((2, 2), (2, 1), (0, 0), (1, 1)).conv_chains == ((), (ConvStep(3, 1, "conv"),))


def test_five_3x3_layers_see_11_pixels() -> None:
    field, sides = image_field(), []
    for _ in range(5):
        field = conv(field, 3)
        sides.append(field.size[0])
    assert sides == [3, 5, 7, 9, 11]
    assert field.gaps == 0


def test_stride_and_centre_equal_a_hand_computation() -> None:
    field = conv(conv(image_field(), 3, stride=2, padding=1), 3, stride=2)
    # Units 0, 1, 2 of the first see pixels -1..1, 1..3, 3..5.
    assert (field.size, field.stride, field.centre) == ((7, 7), (4, 4), (2.0, 2.0))


@pytest.mark.parametrize(
    ("dilations", "side", "gaps"),
    [((1, 2, 5), 17, 0), ((2, 2, 2), 13, 13**2 - 7**2), ((1, 2, 9), 25, 25**2 - 21**2), ((1, 1, 1), 7, 0)],
)
def test_holes_of_dilated_stacks(dilations: tuple[int, ...], side: int, gaps: int) -> None:
    field = image_field()
    for dilation in dilations:
        field = conv(field, 3, dilation=dilation)
    assert field.size == (side, side)
    assert field.gaps == gaps


@pytest.mark.parametrize(
    ("dilations", "gap"),
    # The first two are the paper's own examples: fine, and a gap of 5 under a 3x3 kernel.
    [((1, 2, 5), 2), ((1, 2, 9), 5), ((1, 5, 2), 8), ((2, 2, 2), 2), ((1, 1, 1), 1), ((1, 2, 3), 2)],
)
def test_m2_of_the_hdc_rule(dilations: tuple[int, ...], gap: int) -> None:
    assert hdc(dilations) == gap


def test_a_union_of_branches_is_exact_even_where_it_is_no_rectangle() -> None:
    near, far = conv(image_field(), 3, padding=1), conv(image_field(), 3, padding=2, dilation=2)
    both = merge([near, far])
    assert both is not None
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[1:4, 1:4] = True
    expected[::2, ::2] = True
    assert torch.equal(both.touched(), expected)
    assert len(both.boxes) == 2
    assert merge([near, image_field()]) == near


def test_maps_of_other_strides_do_not_line_up() -> None:
    assert merge([image_field(), conv(image_field(), 3, stride=2)]) is None


def test_axis_sets() -> None:
    axis = Axis(0, 0b1).spread([-1, 1])
    assert axis == Axis(-1, 0b101)
    assert axis.last == 1
    assert Axis(-1, 0b111).covers(axis)
    assert not axis.covers(Axis(0, 0b1))
