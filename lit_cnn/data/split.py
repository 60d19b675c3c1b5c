"""Splits of a data set: stratified, seeded, and stable when files are added or removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_cnn.data.group_split import group_split
from lit_cnn.data.loading.loader import Source
from lit_cnn.data.multilabel import images_per_class
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say
from lit_cnn.utils.files import digest


@dataclass
class Split:
    """One split ("train", "val" or "test") of a data set: a subset of the samples of a source."""

    source: Source
    indices: Tensor  # int64 (N,), ascending


def not_held_out(split: str, validates: bool) -> str:
    """Return the reason why there is no ``split`` for a fraction of 0, and what to do; ``validates``: there is val."""
    other = ": use validate" if validates else ": predict needs none"
    return f"`data.{split}_fraction` is 0{other if split == 'test' else ''}"


def split_size(count: int, fraction: float) -> int:
    """Return how many of ``count`` samples a split of ``fraction`` gets: rounded half up, at least 1."""
    return max(1, int(count * fraction + 0.5))


def stratified_split(
    names: Sequence[str],
    targets: Tensor,
    fraction: float,
    *,
    seed: int,
    split: str,
    tail: bool = False,
) -> tuple[Tensor, Tensor]:
    """Hold out ``fraction`` of every class.

    Args:
        names: One stable name per sample.
        targets: int64 (N,), the class of each sample.
        fraction: Share of every class to hold out, in [0, 1); rounded half up, at least one sample per class unless the
            fraction is 0. At least one is kept.
        seed: Selects the samples: per class, the first ones ordered by a hash of (seed, name), so that a new sample
            does not move the others.
        split: What is held out ("val", "test"), for the messages.
        tail: Hold out the last samples of each class in the given order instead.

    Returns:
        int64 indices kept and int64 indices held out, both ascending.

    Raises:
        UserError: ``fraction`` is out of range.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"`data.{split}_fraction` is {fraction}: it must be at least 0 and below 1")
    held_out: list[int] = []
    kept: list[int] = []
    _, counts = targets.unique(return_counts=True)  # sorted
    groups = targets.argsort(stable=True).split(counts.tolist())
    for group in groups:
        members = group.tolist()
        count = min(split_size(len(members), fraction), len(members) - 1) if fraction else 0
        if tail:
            kept += members[: len(members) - count]
            held_out += members[len(members) - count :]
        else:
            members.sort(key=lambda i: (digest(seed, names[i]), names[i]))
            held_out += members[:count]
            kept += members[count:]
    return torch.tensor(sorted(kept), dtype=torch.int64), torch.tensor(sorted(held_out), dtype=torch.int64)


def hold_out(
    indices: Mapping[str, Tensor],
    fractions: Mapping[str, float],
    names: Sequence[str],
    targets: Tensor,
    *,
    seed: int,
    class_names: Sequence[str],
    tail: bool = False,
    groups: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Hold splits out of the training split, and print which classes are too small for that.

    Args:
        indices: int64 indices of the splits there are, "train" among them.
        fractions: Of the training samples left, by the split to hold out; 0: none.
        names: One stable name per sample of the source.
        targets: int64 (N,), the class of each; with several labels 0 and 1 (N, K), which needs ``groups``.
        seed: See ``stratified_split``.
        class_names: By index.
        tail: Whether test is the tail, see ``stratified_split``.
        groups: Of each sample, to be held out as a whole, see ``group_split``.

    Returns:
        int64 indices of all splits that have any.
    """
    found = dict(indices)
    for split, fraction in fractions.items():
        train = found["train"]
        if groups is None:
            kept, held_out = stratified_split(
                [names[i] for i in train.tolist()],
                targets[train],
                fraction,
                seed=seed,
                split=split,
                tail=tail and split == "test",
            )
        else:
            members = [groups[i] for i in train.tolist()]
            kept, held_out = group_split(members, targets[train], fraction, seed=seed, split=split)
        found["train"], found[split] = train[kept], train[held_out]
    count = {split: images_per_class(targets[found[split]], len(class_names)) for split in ("train", *fractions)}
    lacking = {split: (count["train"] > 0) & (count[split] == 0) for split in fractions if fractions[split] > 0}
    if splits := [split for split, small in lacking.items() if small.any()]:
        small = torch.stack([lacking[split] for split in splits]).any(0).nonzero().flatten().tolist()
        listed = ", ".join(f"{class_names[i]} ({int(count['train'][i])} in train)" for i in small[:5])
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        say(f"too few images to hold one out for {' and '.join(splits)}: class {listed}{more}", error=True)
    return {split: members for split, members in found.items() if len(members)}
