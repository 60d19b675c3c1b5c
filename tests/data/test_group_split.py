"""Groups are held out as a whole, close to the share asked for, and samples with several labels in proportion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lit_cnn.data.group_split import group_split
from lit_cnn.errors import UserError

RNG = np.random.default_rng(0)
GROUPS = [f"p{i}" for i in RNG.integers(0, 60, 600)]
TARGETS = torch.from_numpy(RNG.choice(4, 600, p=[0.5, 0.3, 0.15, 0.05]))


def test_no_group_is_on_both_sides_and_every_class_has_about_its_share():
    kept, held = group_split(GROUPS, TARGETS, 0.2, seed=0, split="test")
    assert {GROUPS[i] for i in kept}.isdisjoint(GROUPS[i] for i in held)
    assert sorted(torch.cat([kept, held]).tolist()) == list(range(600))
    assert len(held) / 600 == pytest.approx(0.2, abs=0.02)
    share = torch.bincount(TARGETS[held], minlength=4) / torch.bincount(TARGETS)
    assert (share - 0.2).abs().max() < 0.05


def test_the_seed_draws_other_groups_and_the_order_of_the_samples_does_not():
    first, second = (set(group_split(GROUPS, TARGETS, 0.2, seed=s, split="val")[1].tolist()) for s in (0, 1))
    assert first != second
    order = torch.from_numpy(RNG.permutation(600))
    shuffled = group_split([GROUPS[i] for i in order.tolist()], TARGETS[order], 0.2, seed=0, split="val")[1]
    assert set(order[shuffled].tolist()) == first


def test_several_labels_are_held_out_in_proportion():
    labels = torch.from_numpy((RNG.random((500, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.02]).astype(np.uint8))
    _, held = group_split([str(i) for i in range(500)], labels, 0.2, seed=0, split="val")
    assert len(held) / 500 == pytest.approx(0.2, abs=0.01)
    share = labels[held].sum(0) / labels.sum(0)
    assert (share - 0.2).abs().max() < 0.05  # a random draw is off by 0.13 for the rarest


def test_every_class_keeps_a_sample_and_one_group_is_held_out_even_if_it_is_too_large():
    targets = torch.tensor([0, 0, 0, 1, 1, 1, 2])
    groups = ["a", "a", "a", "b", "b", "b", "b"]
    assert group_split(groups, targets, 0.1, seed=0, split="val")[1].tolist() == []  # each is all of a class
    groups = ["a", "a", "b", "b", "a", "a", "a"]
    assert group_split(groups, targets, 0.1, seed=0, split="val")[1].tolist() == [2, 3]
    assert group_split(groups, targets, 0.0, seed=0, split="val")[1].tolist() == []
    assert [len(part) for part in group_split([], torch.zeros(0, dtype=torch.int64), 0.1, seed=0, split="val")] == [
        0,
        0,
    ]
    with pytest.raises(UserError, match=r"`data.val_fraction` is 1.0"):
        group_split(groups, targets, 1.0, seed=0, split="val")
