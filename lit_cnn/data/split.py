"""Splits of a data set: stratified, seeded, and stable when files are added or removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_cnn.data.loading.loader import Source
from lit_cnn.errors import UserError
from lit_cnn.utils.files import digest


@dataclass
class Split:
    """One split ("train", "val" or "test") of a data set: a subset of the samples of a source."""

    source: Source
    indices: Tensor  # int64 (N,), ascending


def split_size(count: int, fraction: float) -> int:
    """Return how many of ``count`` samples a split of ``fraction`` gets: rounded half up, at least 1."""
    return max(1, int(count * fraction + 0.5))


def stratified_split(
    names: Sequence[str],
    targets: Tensor,
    fraction: float,
    *,
    seed: int,
    class_names: Sequence[str],
    split: str,
    tail: bool = False,
) -> tuple[Tensor, Tensor]:
    """Hold out ``fraction`` of every class.

    Args:
        names: One stable name per sample.
        targets: int64 (N,), the class of each sample.
        fraction: Share of every class to hold out, in (0, 1); rounded half up, at least one sample per class.
        seed: Selects the samples: per class, the first ones ordered by a hash of (seed, name), so that a new sample
            does not move the others.
        class_names: For the messages.
        split: What is held out ("val", "test"), for the messages.
        tail: Hold out the last samples of each class in the given order instead.

    Returns:
        int64 indices kept and int64 indices held out, both ascending.

    Raises:
        UserError: ``fraction`` is out of range, or a class has too few samples to hold one out and keep one.
    """
    if not 0 < fraction < 1:
        raise UserError(f"`data.{split}_fraction` is {fraction}: it must lie between 0 and 1")
    held_out: list[int] = []
    kept: list[int] = []
    labels, counts = targets.unique(return_counts=True)  # sorted
    groups = targets.argsort(stable=True).split(counts.tolist())
    for label, group in zip(labels.tolist(), groups, strict=True):
        members = group.tolist()
        count = split_size(len(members), fraction)
        if count >= len(members):
            smaller = f" or set a smaller `data.{split}_fraction`" if len(members) > 1 else " to it or remove it"
            raise UserError(
                f"class {class_names[label]!r} has {len(members)} left to hold {count} out for {split}, which leaves "
                f"none to train on: add images{smaller}"
            )
        if tail:
            kept += members[:-count]
            held_out += members[-count:]
        else:
            members.sort(key=lambda i: (digest(seed, names[i]), names[i]))
            held_out += members[:count]
            kept += members[count:]
    return torch.tensor(sorted(kept), dtype=torch.int64), torch.tensor(sorted(held_out), dtype=torch.int64)
