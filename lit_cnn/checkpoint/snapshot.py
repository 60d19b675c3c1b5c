"""What a step changes before its optimizer update: kept from the step before, so that a failed step can be undone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor


class RunningMeans(Protocol):
    """A task's running means over an epoch."""

    def local_state(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Copies of this rank's sums and counts, by name."""

    def load_local_state(self, state: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Restore what :meth:`local_state` returned."""


class Boundary:
    """The end of the last optimizer step: a place where a run can be saved, however the next step fails.

    Weights and optimizer change in the update alone, so until then a failed step has touched only the buffers (batch
    normalisation's running statistics), the epoch's running means, and Lightning's progress counters. These are small,
    and kept here.
    """

    def __init__(self) -> None:
        self.global_step = -1  # no boundary yet
        self.epoch = 0
        self._live: list[Tensor] | None = None  # buffers
        self._kept: list[Tensor] = []
        self._means: dict[str, tuple[Tensor, Tensor]] = {}
        self._loops: dict[str, Any] | None = None  # all loops, at an epoch's end
        self._progress: dict[str, Any] = {}  # of the epoch loop, inside an epoch

    def take(self, trainer: Trainer, module: LightningModule, means: RunningMeans, epoch_end: bool = False) -> None:
        """Make this moment the boundary; to be called where a checkpoint could be saved."""
        if self._live is None:
            self._live = [b for b in module.buffers() if b.numel()]
            self._kept = [torch.empty_like(b) for b in self._live]
        if self._live:
            torch._foreach_copy_(self._kept, self._live)
        self._means = means.local_state()
        loop = trainer.fit_loop.epoch_loop
        self._loops = copy.deepcopy(_all_loops(trainer)) if epoch_end else None
        self._progress = {
            "batch_progress": _plain(loop.batch_progress),
            "scheduler_progress": _plain(loop.scheduler_progress),
            "automatic_optimization.optim_progress": _plain(loop.automatic_optimization.optim_progress),
            "state_dict": loop.on_save_checkpoint(),
        }
        self.global_step, self.epoch = trainer.global_step, trainer.current_epoch

    def drop(self) -> None:
        """There is no way back from here until the next ``take``: weights are about to change."""
        self.global_step = -1

    def reachable(self, trainer: Trainer) -> bool:
        """Whether ``restore`` gives the state of then: no weights have changed, as far as ``drop`` was told."""
        return self.global_step == trainer.global_step

    @torch.no_grad()
    def restore(self, means: RunningMeans) -> None:
        """Put buffers and running means back."""
        if self._live:
            torch._foreach_copy_(self._live, self._kept)
        means.load_local_state(self._means)

    def loops(self, trainer: Trainer) -> dict[str, Any]:
        """The loops' state to write in a checkpoint, as it was at the boundary."""
        if self._loops is not None:
            return self._loops
        loops = copy.deepcopy(_all_loops(trainer))
        loops["fit_loop"].update({f"epoch_loop.{name}": state for name, state in self._progress.items()})
        return loops


def _plain(progress: Any) -> dict[str, Any]:
    """What the progress object's own ``state_dict`` gives, at a tenth of its time, which every step pays."""
    return {k: v if isinstance(v, (int, bool)) else _plain(v) for k, v in vars(progress).items()}


def _all_loops(trainer: Trainer) -> dict[str, Any]:
    return trainer._checkpoint_connector._get_loops_state_dict()
