"""NaN guard: stop at a loss that is NaN or infinite, or skip a few such steps; good checkpoints stay."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from lit_cnn.checkpoint.snapshot import StepSnapshot
from lit_cnn.distributed.flags import FlagReducer
from lit_cnn.errors import NotFiniteError, UserError
from lit_cnn.tasks.base import as_task
from lit_cnn.utils.console import say
from lit_cnn.utils.tensors import HostCopy, all_finite


def _last_good(checkpoint: Path | None) -> str:
    if checkpoint is None or not checkpoint.is_file():
        return "there is no checkpoint yet, so start again"
    return f"the last good checkpoint is {checkpoint}"


def not_finite(trainer: Trainer, what: str, checkpoint: Path | None, done: int | None = None) -> NotFiniteError:
    """The error for the present step.

    Args:
        trainer: the run.
        what: was found.
        checkpoint: ``last.ckpt``, if the run keeps one.
        done: optimizer steps before the one it was found in, where that is not the present one.
    """
    step = (trainer.global_step if done is None else done) + 1
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    return NotFiniteError(
        f"{what} in epoch {trainer.current_epoch + 1}, step {step}, at learning rate "
        f"{rate:.4g}: stopped; {_last_good(checkpoint)}. Try a smaller `model.lr`, "
        "`trainer.gradient_clip_val=1`, or `skip_nonfinite_steps=10`"
    )


class NanGuard(Callback):
    """Stop at the first training loss that is NaN or infinite, before it reaches the weights where that is free.

    Reading a number back at once drains a GPU's queue, so there the loss is copied to the CPU in the background and
    checked one step later, and always before anything is saved. Skipping needs the answer before every update, on any
    device.

    Args:
        skips: how many such steps of a run to skip instead of stopping. A skipped step changes neither weights
            nor running statistics; the schedule advances.
        checkpoint: ``last.ckpt``, for the message; ``None`` where the run keeps none.
    """

    def __init__(self, skips: int = 0, checkpoint: Path | None = None) -> None:
        if skips < 0:
            raise UserError(f"`skip_nonfinite_steps={skips}`: give 0 (stop) or more")
        self.skips, self.checkpoint = skips, checkpoint
        self.skipped = 0
        self._snapshot = StepSnapshot()
        self._flags = FlagReducer()
        self._pending: HostCopy | None = None  # a loss that was not checked yet
        self._pending_step = 0  # optimizer steps before it
        self._buffers: list[Tensor] = []  # to be checked before they are saved
        self._finite: Tensor | None = None  # bool (), of the batches whose gradients are being accumulated

    @property
    def state_key(self) -> str:
        """The name under which checkpoints keep the state: the class's first one."""
        return "FiniteLoss"

    def state_dict(self) -> dict[str, Any]:
        """How many steps were skipped so far."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count."""
        self.skipped = state_dict["skipped"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the buffers to be checked: not those that hold infinities by design, as masks of attention do."""
        self._buffers = [b for b in pl_module.buffers() if b.is_floating_point() and torch.isfinite(b).all()]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember what a skipped step must not change."""
        if self.skips and batch_idx % trainer.accumulate_grad_batches == 0:
            self._snapshot.take(trainer, pl_module, as_task(pl_module).train_means)
            self._finite = None

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss, or the one before."""
        scaled, loss = loss, loss.detach()
        if self.skips:
            now = torch.isfinite(loss).all()
            if _has_scaler(trainer):  # it skips steps by their gradients: a bad loss must not give finite ones
                scaled.register_hook(lambda gradient: gradient.masked_fill(~now, math.nan))
            self._finite = now if self._finite is None else self._finite & now
            return
        if loss.device.type == "cpu":
            self._pending, self._pending_step = HostCopy(loss), trainer.global_step
            self._check(trainer)
        else:
            self._check(trainer)
            self._pending, self._pending_step = HostCopy(loss), trainer.global_step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Skip the update if the loss or a gradient is not finite, on all ranks alike."""
        if not self.skips or self._finite is None:
            return
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        finite = self._finite
        if gradients and not _has_scaler(trainer):  # it skips infinite gradients by itself: they are no fault
            for part in all_finite(gradients):
                finite = finite & part.to(finite.device)
        if self._flags.any(trainer, [not finite]) == [False]:
            return
        self.skipped += 1
        if self.skipped > self.skips:
            raise not_finite(
                trainer, f"the loss or a gradient was not finite in {self.skipped} steps, the last", self.checkpoint
            )
        self._snapshot.restore(as_task(pl_module).train_means)
        if not _has_scaler(trainer):  # it has to see the gradients to skip the step
            optimizer.zero_grad(set_to_none=True)
        say(
            f"skipped step {trainer.global_step + 1}: its loss or a gradient is not finite "
            f"({self.skipped} of at most {self.skips})"
        )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to save weights or running statistics that are NaN or infinite: the files there are better.

        A loss of float16 that is NaN spoils the statistics, while the gradient scaler keeps the weights finite.
        """
        if self._pending_step < trainer.global_step:  # else a step that failed and was undone
            self._check(trainer)
        weights = [p.detach() for p in pl_module.parameters() if p.is_floating_point() and p.numel()]
        if not all(map(bool, all_finite(weights))):
            raise not_finite(trainer, "the weights hold values that are infinite or NaN", self.checkpoint)
        if not all(map(bool, all_finite(self._buffers))):
            raise not_finite(trainer, "the running statistics hold values that are infinite or NaN", self.checkpoint)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the last loss before anything is saved."""
        self._check(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at a validation loss that is not finite: the weights are of no use, the best checkpoint stays."""
        self._check(trainer)
        value = trainer.callback_metrics.get("val/loss")
        if trainer.state.fn == "fit" and value is not None and not math.isfinite(value):
            raise not_finite(trainer, f"the validation loss is {float(value)}", self.checkpoint)

    def _check(self, trainer: Trainer) -> None:
        pending, self._pending = self._pending, None
        if pending is not None and not torch.isfinite(loss := pending.read()).all():
            raise not_finite(trainer, f"the training loss is {float(loss)}", self.checkpoint, self._pending_step)


def _has_scaler(trainer: Trainer) -> bool:
    """Whether gradients are scaled, as with float16."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None
