"""Occlusion against captum, where that is installed, and by hand."""

from __future__ import annotations

import pytest
import torch

from lit_cnn.interpret.occlusion import occlusion


def bright(images):
    """Class 1: the brightness of the pixel at (1, 2); class 0: the rest."""
    value = images[:, 0, 1, 2].sigmoid()
    return torch.stack([1 - value, value], 1)


def test_only_windows_over_the_pixel_that_counts_lower_the_probability():
    images = torch.full((2, 1, 4, 6), 3.0)
    drops = occlusion(bright, images, torch.tensor([1, 0]), window=2, stride=2)
    expected = torch.zeros(4, 6)
    expected[0:2, 2:4] = torch.tensor(3.0).sigmoid() - 0.5
    torch.testing.assert_close(drops, torch.stack([expected, -expected]))


def test_the_default_windows_cover_every_pixel_whatever_the_side():
    for side in (1, 7, 28, 33):
        ones = occlusion(
            lambda x: x.mean((1, 2, 3), keepdim=True)[:, :, 0, 0], torch.ones(1, 1, side, side + 2), torch.tensor([0])
        )
        assert bool((ones > 0).all())


def test_it_equals_captum():
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(5))
    images, classes = torch.randn(3, 3, 11, 14), torch.tensor([4, 0, 2])
    network(images)

    def scores(x):
        return network(x).softmax(1)

    with torch.no_grad():
        theirs = attr.Occlusion(scores).attribute(images, (3, 5, 5), strides=(3, 2, 2), target=classes, baselines=0)
    ours = occlusion(scores, images, classes, window=5, stride=2, batch_size=7)
    torch.testing.assert_close(ours, theirs[:, 0].float(), rtol=1e-4, atol=1e-6)
