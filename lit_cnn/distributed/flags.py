"""What holds in any process of a run, told to all of them at the cost of one small message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer


class Votes:
    """Flags combined over the processes of a run.

    Lightning's ``reduce_boolean_decision`` takes one flag, waits at a barrier first, and on GPUs makes each step wait
    for the queue of kernels. This takes any number of flags in one collective, which never touches a GPU.
    """

    def __init__(self) -> None:
        self._group: Any = None  # all processes, by gloo; None: torch's default group

    def any(self, trainer: Trainer, flags: Sequence[bool]) -> list[bool]:
        """Which of the flags hold in at least one process. Every process has to call it, with as many flags."""
        if trainer.world_size == 1:
            return list(flags)
        if self._group is None and torch.distributed.get_backend() != "gloo":
            self._group = torch.distributed.new_group(backend="gloo")
        votes = torch.tensor(flags, dtype=torch.uint8)
        torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MAX, self._group)
        return [bool(vote) for vote in votes.tolist()]
