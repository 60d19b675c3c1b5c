"""Draws are pure functions of (seed, epoch, sample, operation)."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform, crop_box, crop_boxes, permutation, shard_order

MASK = (1 << 64) - 1


def _reference(seed: int, epoch: int, index: int, op: str) -> float:
    """The hash in plain Python integers, from the published splitmix64."""

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    key = int.from_bytes(hashlib.blake2b(op.encode(), digest_size=8).digest(), "little")
    for part in (seed, epoch):
        key = mix((key + 0x9E3779B97F4A7C15 + part) & MASK)
    return (mix((index * 0x9E3779B97F4A7C15 + key) & MASK) >> 40) * 2.0**-24


def test_counter_uniform_and_orders_are_those_of_earlier_versions() -> None:
    index = torch.tensor([0, 1, 2, -1, 10**12])
    expected = [0.3535737991333008, 0.5052279829978943, 0.21657156944274902, 0.9851194620132446, 0.45657360553741455]
    assert counter_uniform(42, 3, index, "flip/-1").tolist() == expected
    assert permutation(5, 7, 10).tolist() == [7, 1, 5, 6, 4, 8, 0, 9, 3, 2]
    assert shard_order(1, 1, 9).tolist() == [2, 3, 5, 1, 7, 0, 8, 4, 6]


def test_tensor_hash_equals_plain_python_integers() -> None:
    index = torch.tensor([0, 1, 2, 1000, 2**31, 2**62])
    for seed, epoch in ((0, 0), (42, 7), (2**63, 100000)):
        for op in ("flip", "pad/y"):
            expected = [_reference(seed, epoch, i, op) for i in index.tolist()]
            assert counter_uniform(seed, epoch, index, op).tolist() == expected


def test_draw_of_a_sample_does_not_depend_on_its_batch() -> None:
    index = torch.randperm(1000)
    whole = counter_uniform(1, 2, index, ["a", "b"])
    parts = torch.cat([counter_uniform(1, 2, part, ["a", "b"]) for part in index.split(37)], dim=1)
    assert torch.equal(whole, parts)
    assert torch.equal(whole[1], counter_uniform(1, 2, index, "b"))


def test_draws_are_uniform_and_unrelated_between_operations_epochs_seeds_and_neighbours() -> None:
    n = 100_000
    index = torch.arange(n)
    base = counter_uniform(42, 3, index, "flip").double()
    assert 0 <= float(base.min()) < float(base.max()) < 1
    counts = torch.histc(base, bins=50, min=0, max=1)
    chi2 = float(((counts - n / 50) ** 2 / (n / 50)).sum())
    assert chi2 < 49 + 5 * math.sqrt(2 * 49)
    others = [
        counter_uniform(42, 3, index, "pad/x"),
        counter_uniform(42, 4, index, "flip"),
        counter_uniform(43, 3, index, "flip"),
        base.roll(1),
        base.roll(2),
    ]
    for other in others:
        correlation = float(torch.corrcoef(torch.stack([base, other.double()]))[0, 1])
        assert abs(correlation) < 5 / math.sqrt(n)


def test_permutation_is_a_permutation_that_changes_with_epoch_and_seed_only() -> None:
    a = permutation(0, 0, 1001)
    assert torch.equal(a.sort().values, torch.arange(1001))
    assert torch.equal(a, permutation(0, 0, 1001))
    assert not torch.equal(a, permutation(0, 1, 1001))
    assert not torch.equal(a, permutation(1, 0, 1001))
    assert permutation(3, 3, 0).tolist() == []


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (32, 32)])
def test_crop_boxes_follow_the_law_of_torchvision(height: int, width: int) -> None:
    n, scale, ratio = 4000, (0.2, 0.9), (3 / 4, 4 / 3)
    boxes = crop_boxes(counter_uniform(0, 0, torch.arange(n), CROP_OPS), height, width, scale, ratio).double()
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)]).double()
    assert bool((boxes >= 0).all())
    assert bool((boxes[:, 0] + boxes[:, 2] <= height).all())
    assert bool((boxes[:, 1] + boxes[:, 3] <= width).all())
    for mine, other in zip(boxes.T, theirs.T, strict=True):
        tolerance = 5 * float(other.std()) * math.sqrt(2 / n)
        assert abs(float(mine.mean() - other.mean())) < tolerance
        assert abs(float(mine.std() / other.std()) - 1) < 0.08


def test_crop_that_never_fits_falls_back_to_the_largest_central_box() -> None:
    draws = counter_uniform(0, 0, torch.arange(3), CROP_OPS)
    assert crop_boxes(draws, 100, 1000, (1.0, 1.0), (3 / 4, 4 / 3)).tolist() == [[0, 433, 100, 133]] * 3
    assert crop_boxes(draws, 1000, 100, (1.0, 1.0), (3 / 4, 4 / 3)).tolist() == [[433, 0, 133, 100]] * 3
    # An image of an allowed shape whose ten boxes all missed keeps its full area.
    assert crop_boxes(draws, 100, 100, (1.0, 1.0), (1.2, 1.3)).tolist() == [[8, 0, 83, 100]] * 3


@pytest.mark.parametrize(("scale", "ratio"), [((0.08, 1.0), (0.75, 4 / 3)), ((0.9, 1.0), (0.2, 5.0))])
def test_a_box_alone_is_that_of_the_batch_bit_for_bit(scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    height, width = torch.randint(1, 700, (2, 2000), generator=generator)
    draws = counter_uniform(3, 1, torch.arange(2000), CROP_OPS)
    together = crop_boxes(draws, height, width, scale, ratio)
    for i, (h, w) in enumerate(zip(height.tolist(), width.tolist(), strict=True)):
        assert list(crop_box(draws[:, i], h, w, scale, ratio)) == together[i].tolist()
