"""One image and one filter, without axes of length one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from lit_cnn.nn.reference.conv import conv2d, conv_transpose2d
from lit_cnn.nn.reference.loops import conv2d_loops, conv_transpose2d_loops


@pytest.mark.parametrize("function", [conv2d, conv2d_loops])
def test_one_image_and_one_filter_need_no_axes_of_length_one(function: Callable) -> None:
    # a course's examples: 3x3 and 2x2, then two channels
    image, kernel = torch.arange(9.0).view(3, 3), torch.arange(4.0).view(2, 2)
    assert function(image, kernel).tolist() == [[19, 25], [37, 43]]
    two = torch.stack([image, image + 1])
    both = torch.stack([kernel, kernel + 1])
    assert function(two, both).tolist() == [[56, 72], [104, 120]]
    several = torch.stack([both, both + 1, both + 2])
    assert torch.equal(function(two, several), F.conv2d(two, several))
    batch = torch.stack([two, two * 2])
    assert torch.equal(function(batch, both), F.conv2d(batch, both[None])[:, 0])
    assert torch.equal(function(image, several[:, :1]), F.conv2d(image[None], several[:, :1]))


@pytest.mark.parametrize("function", [conv_transpose2d, conv_transpose2d_loops])
def test_transposed_convolution_takes_one_image_and_one_kernel(function: Callable) -> None:
    kernel = torch.arange(4.0).view(2, 2)
    assert function(kernel, kernel).tolist() == [[0, 0, 1], [0, 4, 6], [4, 12, 9]]
    image, weight = torch.randn(3, 4, 5), torch.randn(3, 2, 2, 2)
    torch.testing.assert_close(function(image, weight), F.conv_transpose2d(image, weight))
