"""Cutting a set into parts: stratified, seeded, and stable when files come or go."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from lit_cnn.errors import UserError


def _rank_by_hash(names: Sequence[str], seed: int) -> list[int]:
    """Order positions by a hash of (seed, name), so that a new name does not move the others."""

    def key(i: int) -> tuple[bytes, str]:
        return hashlib.blake2b(f"{seed}\0{names[i]}".encode(errors="surrogateescape"), digest_size=8).digest(), names[i]

    return sorted(range(len(names)), key=key)


def share(count: int, fraction: float) -> int:
    """Return how many of ``count`` samples a part of ``fraction`` gets: rounded half up, at least 1."""
    return max(1, int(count * fraction + 0.5))


def cut(
    names: Sequence[str],
    targets: Tensor,
    fraction: float,
    *,
    seed: int,
    class_names: Sequence[str],
    part: str,
    tail: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cut ``fraction`` of every class off a set.

    Args:
        names: One stable name a sample.
        targets: int64 (N,), the class of each sample.
        fraction: Share of every class to cut off, in (0, 1); rounded half up, at least one sample a class.
        seed: Decides which samples: per class, the first in the order of a hash of (seed, name).
        class_names: For the messages.
        part: What is cut off ("val", "test"), for the messages.
        tail: Cut off the last samples of each class in the order given, not by hash.

    Returns:
        int64 positions kept and positions cut off, both ascending.

    Raises:
        UserError: ``fraction`` is not a share, or a class has too few samples to give one and keep one.
    """
    if not 0 < fraction < 1:
        raise UserError(f"data.{part}_fraction is {fraction}: it must lie between 0 and 1")
    off: list[int] = []
    keep: list[int] = []
    labels, counts = targets.unique(return_counts=True)  # sorted
    groups = targets.argsort(stable=True).split(counts.tolist())
    for label, group in zip(labels.tolist(), groups, strict=True):
        members = group.tolist()
        count = share(len(members), fraction)
        if count >= len(members):
            smaller = f" or set a smaller --data.{part}_fraction" if len(members) > 1 else " to it or remove it"
            raise UserError(
                f"class {class_names[label]!r} has {len(members)} left to cut {count} off for {part}, which leaves "
                f"none to train on: add images{smaller}"
            )
        if tail:
            keep += members[:-count]
            off += members[-count:]
        else:
            order = _rank_by_hash([names[i] for i in members], seed)
            off += [members[i] for i in order[:count]]
            keep += [members[i] for i in order[count:]]
    return torch.tensor(sorted(keep), dtype=torch.int64), torch.tensor(sorted(off), dtype=torch.int64)
