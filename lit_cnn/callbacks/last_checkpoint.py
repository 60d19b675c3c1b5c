"""last.ckpt: where to go on. Saved at every epoch's end, and in the middle of one when the run is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

Handler = Callable[[int, FrameType | None], Any] | int | None
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """The run was told to stop, and has saved. The exit status is 128 + the signal's number, as shells expect."""


class LastCheckpoint(Checkpoint):
    """Keep ``last.ckpt`` up to date, and stop in good order on Ctrl-C (SIGINT) or SIGTERM.

    Lightning's ``save_last`` skips epochs without a new best. The first signal finishes the optimizer step, saves and
    ends the run with :class:`Stopped`; a second one exits at once. An epoch's last batch is not a place to stop: what
    follows it (validation, metrics, the epoch's own save) would be skipped on resume, so it is done first.

    Args:
        folder: where ``last.ckpt`` goes.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / "last.ckpt"
        self._received: int | None = None
        self._saved_at = -1  # optimizer steps at the last save
        self._handlers: dict[int, Handler] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for signals; from here on there is a step to finish."""
        self._received = None
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            self._handlers = {number: signal.signal(number, self._on_signal) for number in SIGNALS}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._give_back()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if that was asked for at the end of the epoch before: by now its metrics are written too."""
        number = self._agreed(trainer)
        if number is not None and self._saved_at == trainer.global_step:
            raise Stopped(128 + number)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop if that was asked for and nothing is left half done."""
        done = batch_idx + 1
        if done == trainer.num_training_batches:
            return
        if 0 < trainer.max_steps <= trainer.global_step or (trainer.should_stop and trainer.fit_loop._can_stop_early):
            self._save(trainer)  # the epoch is going to be cut here
            return
        number = self._agreed(trainer)
        if number is None:
            return
        accumulating = done % trainer.accumulate_grad_batches != 0
        every = trainer.val_check_batch
        validation_is_due = isinstance(every, int) and done % every == 0
        if not accumulating and not validation_is_due:
            self._save(trainer)
            raise Stopped(128 + number)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, unless the epoch was cut short: its end would be taken for a whole one's on resume."""
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready == trainer.num_training_batches:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_at = trainer.global_step

    def _agreed(self, trainer: Trainer) -> int | None:
        """The signal that any process received; all of them stop at the same step."""
        if trainer.world_size == 1:
            return self._received
        if not trainer.strategy.reduce_boolean_decision(self._received is not None, all=False):
            return None
        terminated = trainer.strategy.reduce_boolean_decision(self._received == signal.SIGTERM, all=False)
        return signal.SIGTERM if terminated else signal.SIGINT

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            if sys.stdout.isatty():
                os.write(1, b"\x1b[?25h\n")  # a progress bar hides the cursor
            os._exit(128 + number)  # now means now: no clean-up that could hang
        self._received = number
        os.write(2, b"\nstopping after this step; once more stops at once\n")  # print is not safe in a handler

    def _give_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._handlers = {}
