"""Say why a run ended before its last epoch: early stopping, or a limit of the time."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from lit_cnn.callbacks.time_limit import TimeLimit
from lit_cnn.checkpoint.progress import epoch_is_truncated
from lit_cnn.utils.console import say
from lit_cnn.utils.throughput import clock, epoch_of


class StopReport(Callback):
    """Print one line with the reason when EarlyStopping, ``max_time`` or Timer ends a run.

    A resumed run has the whole time again, and the ``patience`` of its own settings: Lightning restores both, so that
    it would stop at once. A stop that ``min_epochs`` or ``min_steps`` overrules is decided anew at the next check, as a
    run that is resumed in between does.

    Attributes:
        timed_out: whether a limit of the time ended the run.
    """

    def __init__(self) -> None:
        self.timed_out = False
        self._overruled = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Leave the time that was used, earlier stops and another patience out of what callbacks restore."""
        states = checkpoint["callbacks"]
        states.pop("Timer", None)
        for callback in _all(trainer, EarlyStopping):
            state = states.get(callback.state_key)
            if state is not None:
                state.update(patience=callback.patience, stopped_epoch=0)
                if "stopping_reason" in state:
                    state.update(stopping_reason=EarlyStoppingReason.NOT_STOPPED.value, stopping_reason_message=None)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note that a stop was overruled: here the run would have ended."""
        if not trainer.should_stop:
            return
        if not self._overruled and (reason := _reason(trainer)):
            self._overruled = True
            limit = f"trainer.min_epochs={trainer.min_epochs}"
            if trainer.min_steps and trainer.global_step < trainer.min_steps:
                limit = f"trainer.min_steps={trainer.min_steps}"
            say(f"{reason}; training goes on because of `{limit}`")
        trainer.should_stop = False
        for callback in _all(trainer, EarlyStopping):
            callback.stopped_epoch = 0
            callback.stopping_reason = EarlyStoppingReason.NOT_STOPPED
            callback.stopping_reason_message = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the reason of a stop, unless the run has ended as planned at the same time."""
        stops = trainer.should_stop or any(limit.is_up for limit in _all(trainer, TimeLimit))
        if stops and not _finished(trainer) and (reason := _reason(trainer)):
            self.timed_out = _timer(trainer) is not None
            # counted on already where the epoch was finished
            epoch = trainer.fit_loop.epoch_progress.current.ready - 1
            say(f"stopped in epoch {epoch_of(trainer, epoch)}, step {trainer.global_step}: {reason}")


def _finished(trainer: Trainer) -> bool:
    """Whether the run has done all its epochs or steps."""
    epochs = trainer.max_epochs if trainer.max_epochs is not None else -1
    limited = any(limit.is_up for limit in _all(trainer, TimeLimit))  # it has lowered the number of steps
    if not limited and 0 < trainer.max_steps <= trainer.global_step:
        return True
    return 0 <= epochs <= trainer.fit_loop.epoch_progress.current.ready and not epoch_is_truncated(trainer)


def _all(trainer: Trainer, cls: type) -> list[Any]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # untyped in Lightning
    return [callback for callback in callbacks if isinstance(callback, cls)]


def _timer(trainer: Trainer) -> Timer | None:
    """A timer whose time is up, if there is one."""
    for timer in _all(trainer, Timer):
        left = timer.time_remaining()
        if left is not None and left <= 0:
            return timer
    return None


def _reason(trainer: Trainer) -> str:
    """Why the trainer was told to stop; empty where the reason is not known here."""
    for callback in _all(trainer, EarlyStopping):
        if callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            return _of_early_stopping(callback, trainer)
    timer = _timer(trainer)
    if timer is None:
        return ""
    return f"the time limit is reached ({clock(timer.time_elapsed())})"


def _of_early_stopping(callback: EarlyStopping, trainer: Trainer) -> str:
    monitor = callback.monitor
    if callback.stopping_reason == EarlyStoppingReason.STOPPING_THRESHOLD:
        return f"{monitor} has passed the stopping threshold {callback.stopping_threshold}"
    if callback.stopping_reason == EarlyStoppingReason.DIVERGENCE_THRESHOLD:
        return f"{monitor} is worse than the divergence threshold {callback.divergence_threshold}"
    if callback.stopping_reason == EarlyStoppingReason.NON_FINITE_METRIC:
        return f"{monitor} is not a finite number"
    waited, best = callback.wait_count, f"best {float(callback.best_score):.4f}"
    each_epoch = trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0
    what = "epoch" if each_epoch or monitor.startswith("train/") else "validation"
    if each_epoch:
        best += f" in epoch {callback.stopped_epoch + 1 - waited}"
    return f"{monitor} has not improved for {waited} {what}{'s' * (waited != 1)} (patience {callback.patience}), {best}"
