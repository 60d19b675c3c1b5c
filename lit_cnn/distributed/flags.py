"""Boolean OR over all ranks: one all-reduce for any number of flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer


class FlagReducer:
    """Reduce flags over the ranks of a run.

    Lightning's ``reduce_boolean_decision`` takes one flag, waits at a barrier first, and on GPUs makes each step wait
    for the queue of kernels. This takes any number of flags in one all-reduce, which never touches a GPU.
    """

    def __init__(self) -> None:
        self._group: Any = None  # all ranks, by gloo; None: torch's default group

    def any(self, trainer: Trainer, flags: Sequence[bool]) -> list[bool]:
        """Which of the flags are true on at least one rank. Every rank has to call it, with as many flags."""
        if trainer.world_size == 1:
            return list(flags)
        if self._group is None and torch.distributed.get_backend() != "gloo":
            self._group = torch.distributed.new_group(backend="gloo")
        reduced = torch.tensor(flags, dtype=torch.uint8)
        torch.distributed.all_reduce(reduced, torch.distributed.ReduceOp.MAX, self._group)
        return [bool(flag) for flag in reduced.tolist()]
