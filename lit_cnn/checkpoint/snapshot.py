"""Snapshot of the state that a training step changes before ``optimizer.step()``, to undo a failed step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lit_cnn.utils.lightning_internals import loops_state
from lit_cnn.utils.tensors import group_by_dtype


class RunningMeans(Protocol):
    """A task's running means over an epoch."""

    def local_state(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Copies of this rank's sums and counts, by name."""

    def load_local_state(self, state: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Restore what :meth:`local_state` returned."""


class StepSnapshot:
    """The state at the end of the last optimizer step, from which a run can be saved however the next step fails.

    Weights and optimizer change in the update alone, so until then a failed step has touched only the buffers (batch
    normalization's running statistics), the epoch's running means, and Lightning's progress counters. These are small,
    and copied here.
    """

    def __init__(self) -> None:
        self.global_step = -1  # no snapshot yet
        self.epoch = 0
        self._buffers: list[tuple[list[Tensor], ...]] | None = None  # live ones and copies, one pair for each dtype
        self._means: dict[str, tuple[Tensor, Tensor]] = {}
        self._loops: dict[str, Any] | None = None  # all loops, at an epoch's end
        self._progress: dict[str, Any] = {}  # of the epoch loop, inside an epoch

    def take(self, trainer: Trainer, module: LightningModule, means: RunningMeans, epoch_end: bool = False) -> None:
        """Take a snapshot; to be called where a checkpoint could be saved.

        Args:
            trainer: the run.
            module: whose buffers to copy.
            means: the task's running means.
            epoch_end: the epoch has ended.
        """
        if self._buffers is None:
            live = [b for b in module.buffers() if b.numel()]
            self._buffers = group_by_dtype(live, [torch.empty_like(b) for b in live])
        for live, kept in self._buffers:
            torch._foreach_copy_(kept, live)
        self._means = means.local_state()
        loop = trainer.fit_loop.epoch_loop
        self._loops = copy.deepcopy(loops_state(trainer)) if epoch_end else None
        self._progress = {
            "batch_progress": _plain(loop.batch_progress),
            "scheduler_progress": _plain(loop.scheduler_progress),
            "automatic_optimization.optim_progress": _plain(loop.automatic_optimization.optim_progress),
            "state_dict": loop.on_save_checkpoint(),
        }
        self.global_step, self.epoch = trainer.global_step, trainer.current_epoch

    def invalidate(self) -> None:
        """Weights are about to change: there is nothing to restore until the next :meth:`take`."""
        self.global_step = -1

    def is_valid(self, trainer: Trainer) -> bool:
        """Whether :meth:`restore` gives the state of the snapshot: no weights have changed since."""
        return self.global_step == trainer.global_step

    @torch.no_grad()
    def restore(self, means: RunningMeans) -> None:
        """Put buffers and running means back.

        Args:
            means: the task's running means.
        """
        for live, kept in self._buffers or ():
            torch._foreach_copy_(live, kept)
        means.load_local_state(self._means)

    def loops(self, trainer: Trainer) -> dict[str, Any]:
        """The loops' state at the snapshot, to be written in a checkpoint."""
        if self._loops is not None:
            return self._loops
        loops = copy.deepcopy(loops_state(trainer))
        loops["fit_loop"].update({f"epoch_loop.{name}": state for name, state in self._progress.items()})
        return loops


def _plain(progress: Any) -> dict[str, Any]:
    """What the progress object's own ``state_dict`` gives, at a tenth of its time, which every step pays."""
    return {k: v if isinstance(v, (int, bool)) else _plain(v) for k, v in vars(progress).items()}
