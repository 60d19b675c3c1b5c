"""Cuts are stratified, seeded, disjoint, and stable when files come or go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lit_cnn.data.split import hold_out, stratified_split
from lit_cnn.errors import UserError

NAMES = [f"{'abc'[i % 3]}/{i:04d}.jpg" for i in range(300)]
TARGETS = torch.arange(300) % 3


def _cut(names: list[str], targets: Tensor, fraction: float = 0.2, seed: int = 0, tail: bool = False) -> set[str]:
    kept, off = stratified_split(names, targets, fraction, seed=seed, split="val", tail=tail)
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


def test_a_small_class_keeps_one_and_holds_out_what_it_can() -> None:
    assert _cut(["a0", "a1", "c0"], torch.tensor([0, 0, 2])) in ({"a0"}, {"a1"})
    assert len(_cut(["a0", "a1"], torch.tensor([0, 0]), 0.9)) == 1
    assert _cut(["a0"], torch.tensor([0]), tail=True) == set()


def test_a_fraction_of_0_holds_nothing_out_and_others_must_lie_between_0_and_1() -> None:
    for tail in (False, True):
        assert _cut(NAMES, TARGETS, 0, tail=tail) == set()
    for fraction in (1.5, 1, -0.1):
        with pytest.raises(UserError, match=rf"`data.val_fraction` is {fraction}: it must be at least 0 and below 1"):
            _cut(NAMES, TARGETS, fraction)


def test_classes_that_are_too_small_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    targets = torch.tensor([0] * 9 + [1] * 2 + [2])
    names, start = [str(i) for i in range(12)], {"train": torch.arange(12)}
    settings = {"names": names, "targets": targets, "seed": 0, "class_names": ["many", "two", "one"]}
    found = hold_out(start, {"test": 0.2, "val": 0.1}, **settings)
    assert {split: len(members) for split, members in found.items()} == {"train": 8, "test": 3, "val": 1}
    line = "too few images to hold one out for test and val: class two (1 in train), one (1 in train)\n"
    assert capsys.readouterr().err == line
    assert set(hold_out(start, {"test": 0, "val": 0}, **settings)) == {"train"}
    assert not capsys.readouterr().err
