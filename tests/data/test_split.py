"""Cuts are stratified, seeded, disjoint, and stable when files come or go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lit_cnn.data.split import stratified_split
from lit_cnn.errors import UserError

NAMES = [f"{'abc'[i % 3]}/{i:04d}.jpg" for i in range(300)]
TARGETS = torch.arange(300) % 3


def _cut(names: list[str], targets: Tensor, fraction: float = 0.2, seed: int = 0, tail: bool = False) -> set[str]:
    kept, off = stratified_split(
        names, targets, fraction, seed=seed, split="val", tail=tail
    )
    assert sorted(kept.tolist() + off.tolist()) == list(range(len(names)))
    assert kept.tolist() == sorted(kept.tolist())
    assert off.tolist() == sorted(off.tolist())
    return {names[i] for i in off.tolist()}


def test_every_class_gives_its_share() -> None:
    targets = torch.tensor([0] * 100 + [1] * 20 + [2] * 6)
    names = [str(i) for i in range(126)]
    off = _cut(names, targets, 0.25)
    assert torch.bincount(targets[[int(name) for name in off]]).tolist() == [25, 5, 2]  # 1.5 is rounded up


def test_the_seed_decides() -> None:
    assert _cut(NAMES, TARGETS) == _cut(NAMES, TARGETS)
    assert _cut(NAMES, TARGETS, seed=0) != _cut(NAMES, TARGETS, seed=1)


def test_the_order_of_the_list_does_not_matter() -> None:
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert _cut([NAMES[i] for i in order.tolist()], TARGETS[order]) == _cut(NAMES, TARGETS)


def test_adding_or_removing_a_file_moves_at_most_one_other_in_or_out() -> None:
    before = _cut(NAMES, TARGETS)
    for i in range(0, 300, 17):
        without = _cut(NAMES[:i] + NAMES[i + 1 :], torch.cat([TARGETS[:i], TARGETS[i + 1 :]]))
        assert len((before ^ without) - {NAMES[i]}) <= 1
    added = _cut(["a/new.jpg", *NAMES], torch.cat([torch.tensor([0]), TARGETS]))
    assert len((before ^ added) - {"a/new.jpg"}) <= 1


def test_tail_is_the_last_share_of_each_class_in_order() -> None:
    off = _cut(NAMES, TARGETS, 0.25, tail=True)
    assert off == {name for c in "abc" for name in sorted(n for n in NAMES if n[0] == c)[75:]}


def test_a_class_too_small_to_share_is_named() -> None:
    with pytest.raises(UserError, match=r"class 'c' has 1 left to hold 1 out .* add images to it or remove it"):
        _cut(["a0", "a1", "c0"], torch.tensor([0, 0, 2]))
    with pytest.raises(UserError, match=r"class 'a' has 2 left to hold 2 out .* smaller `data.val_fraction`"):
        _cut(["a0", "a1"], torch.tensor([0, 0]), 0.9)
    with pytest.raises(UserError, match=r"`data.val_fraction` is 1.5: it must lie between 0 and 1"):
        _cut(NAMES, TARGETS, 1.5)
