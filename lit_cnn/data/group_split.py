"""Hold out groups of samples, or samples with several labels, as stratified as they allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.utils.files import digest


def group_split(
    groups: Sequence[str], targets: Tensor, fraction: float, *, seed: int, split: str
) -> tuple[Tensor, Tensor]:
    """Hold out ``fraction`` of the samples, whole groups at a time, and about that share of each class.

    Groups are tried in the order of a hash of (seed, group), so that a new one hardly moves the others. Each is held
    out where that brings the held-out shares closer to ``fraction``: the sum over all classes, and over all samples, of
    the squared difference. With a group for each sample this is a stratification of several labels (compare Sechidis
    et al., "On the stratification of multi-label data", 2011).

    Args:
        groups: the group of each sample.
        targets: class indices int64 (N,), or 0 and 1 for each class (N, K).
        fraction: share to hold out, in [0, 1).
        seed: see above.
        split: what is held out ("val", "test"), for messages.

    Returns:
        int64 indices kept and held out, both ascending. Every class keeps at least one sample. With a fraction above 0
        at least one group is held out where classes allow it.

    Raises:
        UserError: ``fraction`` is out of range.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"`data.{split}_fraction` is {fraction}: it must be at least 0 and below 1")
    names, number = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    kinds, counts = _counts(number, targets, len(names))
    total = np.bincount(np.concatenate(kinds), np.concatenate(counts)) if len(names) else np.zeros(1)
    held, wanted = np.zeros_like(total), fraction * total
    weight = 1 / np.maximum(total, 1) ** 2
    chosen = np.zeros(len(names), dtype=bool)
    closest: tuple[float, int] | None = None
    for group in sorted(range(len(names)), key=lambda i: (digest(seed, names[i]), names[i])) if fraction else []:
        kind, count = kinds[group], counts[group]
        if (held[kind] + count >= total[kind]).any():  # the last of a class
            continue
        off = held[kind] - wanted[kind]
        change = float((((off + count) ** 2 - off**2) * weight[kind]).sum())
        if change < 0:
            chosen[group] = True
            held[kind] += count
        elif not chosen.any() and (closest is None or change < closest[0]):
            closest = change, group
    if not chosen.any() and closest is not None:
        chosen[closest[1]] = True
    out = torch.from_numpy(chosen[number]) if len(names) else torch.zeros(0, dtype=torch.bool)
    return (~out).nonzero().flatten(), out.nonzero().flatten()


def _counts(number: np.ndarray, targets: Tensor, groups: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each group the classes that it has, with the number of its samples of each; class 0 are all samples."""
    if targets.ndim == 1:
        sample, kind = np.arange(len(number)), targets.numpy() + 1
    else:
        sample, kind = (found.numpy() for found in targets.nonzero(as_tuple=True))
        kind = kind + 1
    width = int(kind.max(initial=0)) + 1
    cells = np.concatenate([number * width, number[sample] * width + kind])
    cells, count = np.unique(cells, return_counts=True)
    ends = np.searchsorted(cells, np.arange(1, groups) * width)
    return np.split(cells % width, ends), np.split(count.astype(float), ends)
