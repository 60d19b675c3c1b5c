"""Deletion, insertion and the sanity check against what they are defined as."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_cnn.interpret.faithfulness import deletion_insertion, rank_correlation, with_shuffled_weights


def scores(images):
    """The share of the four left pixels of each 4 x 4 image that is not 0."""
    return (images[:, 0, :, 0] != 0).float().mean(1, keepdim=True)


def test_deletion_is_small_where_the_map_names_the_pixels_that_count():
    images, classes = torch.ones(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    good, bad = torch.zeros(4, 4), torch.ones(4, 4)
    good[:, 0], bad[:, 0] = 1, 0
    found = deletion_insertion(scores, images, classes, torch.stack([good, bad]), steps=4)
    # the probability at 0, 4, 8, 12 and 16 removed pixels is 1 0 0 0 0, and 1 1 1 1 0
    torch.testing.assert_close(found.deletion, torch.tensor([0.125, 0.875]))


def test_insertion_is_large_where_the_map_names_the_pixels_that_count():
    image = torch.zeros(1, 1, 20, 20)
    image[..., 5, 5] = 1.0

    def sharp(x):
        return (x[:, 0, 5, 5] > 0.9).float()[:, None]

    hot = image[0]
    found = deletion_insertion(sharp, image.repeat(2, 1, 1, 1), torch.tensor([0, 0]), torch.cat([hot, -hot]), steps=4)
    torch.testing.assert_close(found.insertion, torch.tensor([0.875, 0.125]))


def test_shuffled_weights_are_the_same_values_elsewhere_and_the_network_keeps_its_own():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copied = with_shuffled_weights(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    ours, theirs = network[0].weight, copied[0].weight
    assert not torch.equal(ours, theirs)
    assert torch.equal(ours.flatten().sort().values, theirs.flatten().sort().values)
    assert not copied.training
    assert torch.equal(with_shuffled_weights(network)[0].weight, theirs)


def test_the_correlation_is_spearmans_and_unknown_of_a_constant_map():
    stats = pytest.importorskip("scipy.stats")
    torch.manual_seed(0)
    first, second = torch.randn(3, 6, 7).relu(), torch.randn(3, 6, 7)
    expected = [stats.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second, strict=True)]
    torch.testing.assert_close(rank_correlation(first, second), torch.tensor(expected, dtype=torch.float32))
    assert rank_correlation(torch.ones(1, 3, 3), torch.randn(1, 3, 3)).isnan().all()
