from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from lit_cnn.inspection.gridding import DilatedStack, dilated_stacks, gridding_summary
from lit_cnn.inspection.layers import inspect_layers
from lit_cnn.models import MODELS, get_model


def build(name: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return get_model(name, in_channels=MODELS[name].in_channels, **arguments)


def dilations(stack: DilatedStack) -> tuple[list[int], list[int]]:
    rows, columns = ([step.dilation for step in chain] for chain in stack.conv_chains)
    return rows, columns


def gradient_window(model: nn.Module, size: int, window: tuple[int, int]) -> Tensor:
    """Where the gradient of the centre unit is not zero, in a window of this size around it."""
    x = torch.ones(1, 1, size, size, requires_grad=True)
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    (gradient,) = torch.autograd.grad(model(x)[0, 0, size // 2, size // 2], x)
    rows, columns = (slice(size // 2 - side // 2, size // 2 + side // 2 + 1) for side in window)
    return gradient[0, 0, rows, columns] != 0


def test_dilations_1_2_5_leave_no_pixel_out_and_2_2_2_leave_120_of_169() -> None:
    (stack,) = dilated_stacks(inspect_layers(build("dilated_convnet_padded"), 32))
    assert (dilations(stack), stack.window, stack.m2, stack.gaps) == (([1, 2, 5], [1, 2, 5]), (17, 17), (2, 2), 0)
    (stack,) = dilated_stacks(inspect_layers(build("dilated_convnet_padded", dilations=(2, 2, 2)), 32))
    assert (dilations(stack), stack.window, stack.m2, stack.gaps) == (([2, 2, 2], [2, 2, 2]), (13, 13), (2, 2), 120)
    assert stack.missed == ((1, 3, 5, 7, 9, 11), (1, 3, 5, 7, 9, 11))
    assert (stack.first, stack.layer, stack.stride) == ("features.0", "features.6", (1, 1))
    assert not dilated_stacks(inspect_layers(build("convnet_pooled"), 32))


def test_a_stack_ends_where_the_map_changes_its_size() -> None:
    def conv(dilation: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(3, 3, 3, stride, dilation, dilation)

    with torch.device("meta"):
        model = nn.Sequential(conv(1), conv(2), nn.MaxPool2d(2), conv(2), conv(4), conv(1, 2), conv(1))
    stacks = dilated_stacks(inspect_layers(model, 64))
    assert [(stack.first, stack.layer, dilations(stack)[0]) for stack in stacks] == [
        ("0", "1", [1, 2]),
        ("3", "4", [2, 4]),
    ]


def test_rows_and_columns_are_checked_apart_for_kernels_that_are_not_square() -> None:
    def model() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 1, (1, 3), padding=(0, 2), dilation=(1, 2), bias=False),
            nn.Conv2d(1, 1, (3, 1), padding=(1, 0), bias=False),
            nn.Conv2d(1, 1, (1, 3), padding=(0, 2), dilation=(1, 2), bias=False),
        )

    (stack,) = dilated_stacks(inspect_layers(model(), 17, 1))
    assert (dilations(stack), stack.m2) == (([1], [2, 2]), (None, 2))
    assert (stack.window, stack.missed, stack.gaps) == ((3, 9), ((), (1, 3, 5, 7)), 12)
    assert torch.equal(stack.paths() > 0, gradient_window(model(), 17, stack.window))


def test_a_stride_along_one_axis_ends_the_stack_along_that_axis_only() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 3, 3, dilation=2),
        nn.Conv2d(3, 3, 3, stride=(1, 2)),
        nn.Conv2d(3, 3, 3, dilation=4),
    )
    *_, stack = dilated_stacks(inspect_layers(model, 64))
    assert (dilations(stack), stack.stride) == (([2, 1, 4], [4]), (1, 2))


def test_behind_a_stride_missed_positions_are_those_of_the_map_and_pixels_are_counted_too() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 3, 4, 4), nn.Conv2d(3, 3, 3, dilation=2), nn.Conv2d(3, 3, 3, dilation=2))
    (stack,) = dilated_stacks(inspect_layers(model, 64))
    assert (stack.first, stack.stride, stack.window, stack.gaps) == ("1", (4, 4), (9, 9), 81 - 25)
    assert stack.image_gaps == 36**2 - 20**2  # each position of the map is a separate patch of 4 x 4 pixels
    model[0] = nn.Conv2d(3, 3, 5, 2, device="meta")
    (stack,) = dilated_stacks(inspect_layers(model, 64))
    assert (stack.stride, stack.gaps, stack.image_gaps) == ((2, 2), 81 - 25, 0)  # patches overlap


def summary(*layers: nn.Module) -> str:
    (stack,) = dilated_stacks(inspect_layers(nn.Sequential(*layers), 64))
    return gridding_summary(stack)


def test_the_summary_names_the_map_behind_a_stride_and_counts_pixels_as_well() -> None:
    line = summary(nn.Conv2d(3, 3, 4, 4), nn.Conv2d(3, 3, 3, dilation=2), nn.Conv2d(3, 3, 3, dilation=2))
    assert "of the 9x9 positions of the input of 1, 4 pixels apart, 56 are never read (gridding)" in line
    assert line.endswith("of the image's pixels in its receptive field 896 are never read")


def test_the_summary_distinguishes_rows_from_columns() -> None:
    line = summary(nn.Conv2d(3, 3, (1, 3), dilation=(1, 2)), nn.Conv2d(3, 3, (1, 3), dilation=(1, 9)))
    assert "rows: no dilation; columns: dilations 2-9: M2 = 9 > 3" in line
    assert line.endswith("14 are never read (gridding): those in columns 1, 3, 5, 6, 7, 8, 10, 12, ... of 0 to 22")


def test_pixels_that_another_branch_reaches_are_not_counted_as_missed() -> None:
    class Sum(nn.ModuleList):
        def forward(self, x: Tensor) -> Tensor:
            return sum(branch(x) for branch in self)

    branches = Sum([nn.Conv2d(3, 3, 3, padding=2, dilation=2), nn.Conv2d(3, 3, 3, padding=1)])
    line = summary(branches, nn.Conv2d(3, 3, 3, dilation=2))
    far, near = itertools.product((-2, 0, 2), repeat=2), itertools.product((-1, 0, 1), repeat=2)
    taps = itertools.product((-2, 0, 2), repeat=2)
    seen = {(i + m, j + n) for (i, j), (m, n) in itertools.product([*far, *near], taps)}
    assert "of the 9x9 pixels 56 are never read" in line
    assert line.endswith(f"of the image's pixels in its receptive field {81 - len(seen)} are never read")
