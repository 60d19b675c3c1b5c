from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_cnn.nn.reference.upsample import bilinear, nearest, nearest_exact, trilinear


def compare(mine: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], x: Tensor) -> None:
    x.requires_grad_()
    actual, expected = mine(x), theirs(x)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    seed = torch.randn(actual.shape)
    torch.testing.assert_close(
        torch.autograd.grad(actual, x, seed), torch.autograd.grad(expected, x, seed), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("size", [(8, 10), (7, 11), (4, 5), (3, 1)])
def test_nearest_equals_torchs(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    compare(lambda x: nearest(x, size), lambda x: F.interpolate(x, size, mode="nearest"), torch.randn(2, 3, 4, 5))


def test_nearest_takes_the_pixels_that_torch_takes_whatever_the_sizes() -> None:
    for length in range(1, 65):
        x = torch.arange(float(length)).view(1, 1, length)
        for size in range(1, 129):
            assert torch.equal(nearest(x, (size,)), F.interpolate(x, size, mode="nearest")), (length, size)


def test_the_closest_pixel_is_the_one_that_torch_takes_whatever_the_sizes() -> None:
    for length in range(1, 65):
        x = torch.arange(float(length)).view(1, 1, length)
        for size in range(1, 129):
            expected = F.interpolate(x, size, mode="nearest-exact")
            undecided = (2 * torch.arange(size) + 1) * length % (2 * size) == 0  # two pixels are equally close
            wrong = (nearest_exact(x, (size,)) != expected).view(-1) & ~undecided
            assert not wrong.any(), (length, size)
    assert nearest_exact(torch.tensor([1.0, 2.0]), (3,)).tolist() == [1, 2, 2]
    assert nearest_exact(torch.tensor([1.0, 2.0, 3.0]), (2,)).tolist() == [1, 3]
    assert nearest(torch.tensor([1.0, 2.0, 3.0]), (2,)).tolist() == [1, 2]


def test_one_image_needs_no_axes_of_length_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 4, 5)
    for function in (nearest, nearest_exact, bilinear):
        expected = function(x, (7, 6))[0]
        assert torch.equal(function(x[0], (7, 6)), expected)
        assert torch.equal(function(x[0, 0], (7, 6)), expected[0])
    assert torch.equal(trilinear(x[0], (2, 7, 6)), trilinear(x[None], (2, 7, 6))[0, 0])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(8, 10), (7, 11), (4, 5), (3, 1)])
def test_bilinear_equals_torchs(size: tuple[int, int], align_corners: bool) -> None:
    torch.manual_seed(0)
    compare(
        lambda x: bilinear(x, size, align_corners),
        lambda x: F.interpolate(x, size, mode="bilinear", align_corners=align_corners),
        torch.randn(2, 3, 4, 5),
    )


@pytest.mark.parametrize("align_corners", [False, True])
def test_trilinear_equals_torchs(align_corners: bool) -> None:
    torch.manual_seed(0)
    compare(
        lambda x: trilinear(x, (6, 7, 5), align_corners),
        lambda x: F.interpolate(x, (6, 7, 5), mode="trilinear", align_corners=align_corners),
        torch.randn(2, 2, 3, 4, 5),
    )


def test_bilinear_equals_a_hand_computation() -> None:
    x = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]])
    assert bilinear(x, (3, 3), align_corners=True).tolist() == [[[[0, 1, 2], [2, 3, 4], [4, 5, 6]]]]


@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear_in_bf16_finds_positions_beyond_256(align_corners: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 2, 300, dtype=torch.bfloat16)
    expected = F.interpolate(x, (3, 600), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(bilinear(x, (3, 600), align_corners), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("function", [nearest, nearest_exact, bilinear, trilinear])
def test_a_size_that_does_not_name_every_side_is_refused(function: Callable) -> None:
    for size in [(8,), (8, 0)]:
        with pytest.raises(ValueError, match="size must give every side"):
            function(torch.zeros(1, 1, 4, 4), size)
