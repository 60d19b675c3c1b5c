from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from lit_cnn.nn.reference.pool import avg_pool2d, avg_unpool2d, max_pool2d, max_unpool2d

CASES = [
    (2, None, 0),
    (3, 2, 1),
    (3, 1, 1),
    (2, 3, 0),
    (3, 2, 0),
    ((3, 2), None, (1, 0)),
    ((2, 5), (1, 3), (0, 2)),
]
Setting = int | tuple[int, int]


@pytest.mark.parametrize(("kernel", "stride", "padding"), CASES)
def test_max_pooling_its_positions_and_gradient_equal_torchs(
    kernel: Setting, stride: Setting | None, padding: Setting
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 8, requires_grad=True)
    values, positions = max_pool2d(x, kernel, stride, padding)
    expected, where = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
    assert torch.equal(values, expected)
    assert torch.equal(positions, where)
    seed = torch.randn(values.shape)
    (mine,) = torch.autograd.grad(values, x, seed)
    (theirs,) = torch.autograd.grad(expected, x, seed)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kernel", "stride", "padding"), CASES)
def test_average_pooling_and_its_gradient_equal_torchs(
    kernel: Setting, stride: Setting | None, padding: Setting
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 8, requires_grad=True)
    mine, theirs = avg_pool2d(x, kernel, stride, padding), F.avg_pool2d(x, kernel, stride, padding)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    seed = torch.randn(mine.shape)
    torch.testing.assert_close(
        torch.autograd.grad(mine, x, seed), torch.autograd.grad(theirs, x, seed), atol=1e-5, rtol=1e-5
    )


def test_unpooling_puts_values_back_as_torch_does_with_gradient() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 6, requires_grad=True)
    values, positions = max_pool2d(x, 2)
    mine = max_unpool2d(values, positions, (8, 6))
    theirs = F.max_unpool2d(values, positions, 2)
    assert torch.equal(mine, theirs)
    assert torch.equal(mine[mine != 0], x[mine != 0])
    seed = torch.randn(mine.shape)
    assert torch.equal(
        torch.autograd.grad(mine, x, seed, retain_graph=True)[0], torch.autograd.grad(theirs, x, seed)[0]
    )


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
def test_windows_that_do_not_fit_are_refused(pool: Callable) -> None:
    x = torch.zeros(1, 1, 4, 6)
    with pytest.raises(ValueError, match="a 5x5 kernel is larger than an image of 4x6"):
        pool(x, 5)
    with pytest.raises(ValueError, match="a 7x3 kernel is larger than an image of 6x8 with its padding"):
        pool(x, (7, 3), padding=1)
    with pytest.raises(ValueError, match="padding 2 must be at most half of the 3x3 kernel"):
        pool(x, 3, padding=2)
    with pytest.raises(ValueError, match=r"stride must be a whole number from 1 up or two of them .* got 0"):
        pool(x, 2, stride=0)
    with pytest.raises(ValueError, match=r"must be of shape \(N, C, H, W\), \(C, H, W\) or \(H, W\), got \(6,\)"):
        pool(x[0, 0, 0], 2)


@pytest.mark.parametrize("lead", [(), (3,)])
def test_one_image_needs_no_axes_of_length_one(lead: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(*lead, 6, 7)
    batch = x.view(1, -1, 6, 7)
    values, positions = max_pool2d(x, 3, 2, 1)
    assert values.shape == positions.shape == (*lead, 3, 4)
    whole = max_pool2d(batch, 3, 2, 1)
    assert torch.equal(values.view(whole[0].shape), whole[0])
    assert torch.equal(positions.view(whole[1].shape), whole[1])
    assert torch.equal(max_unpool2d(values, positions, (6, 7)).view(batch.shape), max_unpool2d(*whole, (6, 7)))
    assert torch.equal(avg_pool2d(x, 2).flatten(), avg_pool2d(batch, 2).flatten())
    assert avg_pool2d(torch.arange(9.0).view(3, 3), 2, 1).tolist() == [[2, 3], [5, 6]]


def test_average_unpooling_copies_each_value_to_its_window_and_pooling_takes_it_back() -> None:
    assert avg_unpool2d(torch.tensor([[1.0, 2.0]]), (2, 3)).tolist() == [[1, 1, 1, 2, 2, 2]] * 2
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(avg_unpool2d(x, 2), F.interpolate(x, scale_factor=2, mode="nearest"))
    torch.testing.assert_close(avg_pool2d(avg_unpool2d(x, (3, 2)), (3, 2)), x)
    with pytest.raises(ValueError, match="kernel must be a whole number from 1 up"):
        avg_unpool2d(x, 0)
