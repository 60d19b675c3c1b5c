"""last.ckpt, to resume from: saved at an interval, when a signal stops the run, and when a step fails."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch.optim import Optimizer

from lit_cnn.checkpoint.interval import SaveInterval
from lit_cnn.checkpoint.io import PARTIAL, remove_partial_files
from lit_cnn.checkpoint.progress import epoch_is_truncated, validation_follows
from lit_cnn.checkpoint.record import KEY, load_verified
from lit_cnn.checkpoint.snapshot import StepSnapshot
from lit_cnn.distributed.flags import FlagReducer
from lit_cnn.errors import CheckpointWriteError, NotFiniteError, Stopped, UserError
from lit_cnn.tasks.base import as_task
from lit_cnn.utils.console import say
from lit_cnn.utils.signals import write_line
from lit_cnn.utils.streams import is_terminal

Handler = Callable[[int, FrameType | None], Any] | int | None
# SIGUSR1 is what a SLURM job asks for some time before its end: --signal=USR1@120; SIGHUP: the terminal is gone
OF_UNIX = [signal.SIGUSR1, signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
SIGNALS = [signal.SIGINT, signal.SIGTERM, *OF_UNIX]
FILES = 4  # best, last, previous, and the one being written


class LastCheckpoint(Checkpoint):
    """Keep ``last.ckpt`` and the one before it, ``previous.ckpt``, and save before stopping on a signal.

    Lightning's ``save_last`` skips epochs without a new best. The first SIGINT (Ctrl-C), SIGTERM, SIGUSR1 or SIGHUP
    finishes the optimizer step, saves and ends the run with ``Stopped``; a second one exits at once. Nothing is
    saved at an epoch's last batch: what follows it (validation, metrics, the epoch's own save) would be skipped on
    resume, so it is done first. A training step that raises is undone up to the last optimizer step, and that state is
    saved.

    Args:
        folder: where the checkpoints go.
        every: how often to save; the end of the run is always saved.
    """

    def __init__(self, folder: str | os.PathLike[str], every: SaveInterval) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.previous = self.path.with_name("previous.ckpt")
        self.every = every
        self._received: int | None = None
        self._reports = False  # prints for all ranks
        self._saved_at = -1  # optimizer steps at the last save
        self._saved_time = 0.0
        self._valid = False  # last.ckpt was written or verified by this process
        self._snapshot = StepSnapshot()
        self._flags = FlagReducer()
        self._undone = False  # the state being saved is the snapshot's, not the present one
        self._handlers: dict[int, Handler] = {}

    # -- start and end ----------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check at the start that checkpoints can be written.

        Raises:
            UserError: they cannot.
        """
        if stage != "fit" or not trainer.is_global_zero:
            return
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_partial_files(folder)
            with tempfile.TemporaryFile(dir=folder, suffix=PARTIAL) as file:
                file.write(b"writable")
        except OSError as error:
            raise UserError(f"cannot write checkpoints to {folder}: {error.strerror}") from error

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle signals; from here on there is a step to finish."""
        if trainer.is_global_zero:
            self._check_space(trainer, pl_module)
        self._received, self._reports = None, trainer.is_global_zero
        self._saved_at, self._saved_time = trainer.global_step, time.monotonic()
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            nohup = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            handled = [number for number in SIGNALS if not (nohup and number == signal.SIGHUP)]
            self._handlers = {number: signal.signal(number, self._on_signal) for number in handled}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the signal handlers."""
        if self._received is not None:
            say("that step was the run's last: it is finished", error=True)
        self._restore_handlers()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the state before the step that failed, where it can be restored."""
        self._restore_handlers()
        # several ranks save together, and this one's error does not reach the others
        alone = trainer.world_size == 1 and trainer.training
        if (
            isinstance(exception, (Stopped, NotFiniteError, CheckpointWriteError))
            or not alone
            or not self._snapshot.is_valid(trainer)
        ):
            return
        if self._saved_at == trainer.global_step:
            return
        try:
            self._snapshot.restore(as_task(pl_module).train_means)
            self._undone = True
            self._save(trainer)
        except Exception as error:  # the exception that is under way matters more
            say(f"could not save after the error: {error}", error=True, all_ranks=True)
        finally:
            self._undone = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the snapshot's progress where the step after it failed."""
        if self._undone:
            checkpoint["loops"] = self._snapshot.loops(trainer)
            checkpoint["epoch"] = self._snapshot.epoch
            checkpoint[KEY].update(exact=True, cut=False)

    # -- when to save -----------------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if a signal came at the end of the epoch before: by now its metrics are written too."""
        number, _ = self._reduce(trainer)
        if number is not None and self._saved_at == trainer.global_step:
            raise Stopped(128 + number)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """From here on the last snapshot cannot be restored."""
        self._snapshot.invalidate()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, stop if a signal came; not where something is half done."""
        done = batch_idx + 1
        if done == trainer.num_training_batches:
            self._snapshot.invalidate()
            return
        if done % trainer.accumulate_grad_batches != 0:
            return
        if validation_follows(trainer, done):
            self._snapshot.invalidate()  # saved here, a resume would skip the validation
            return
        number, due = self._reduce(trainer)
        if trainer.world_size == 1:
            self._snapshot.take(trainer, pl_module, as_task(pl_module).train_means)
        if number is not None or due:
            self._save(trainer)
        if number is not None:
            raise Stopped(128 + number)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is time. A truncated epoch is the end of the run."""
        if epoch_is_truncated(trainer):
            if self._saved_at != trainer.global_step:
                self._save(trainer)
            return
        epochs, max_epochs = trainer.current_epoch + 1, trainer.max_epochs
        last = max_epochs is not None and 0 <= max_epochs <= epochs
        last |= trainer.should_stop or 0 < trainer.max_steps <= trainer.global_step
        number, due = self._reduce(trainer)
        if last or due or number is not None or (self.every.epochs and epochs % self.every.epochs == 0):
            self._save(trainer)
        if trainer.world_size == 1:
            self._snapshot.take(trainer, pl_module, as_task(pl_module).train_means, epoch_end=True)

    def _due(self, trainer: Trainer) -> bool:
        steps, seconds = self.every.steps, self.every.seconds
        if steps and trainer.global_step // steps > self._saved_at // steps:
            return True
        return bool(seconds) and time.monotonic() - self._saved_time >= seconds

    def _reduce(self, trainer: Trainer) -> tuple[int | None, bool]:
        """The signal that any rank received, and whether it is time to save: the same on all ranks."""
        flags = [*(self._received == number for number in SIGNALS), self._due(trainer)]
        *received, due = self._flags.any(trainer, flags)
        number = next((n for n, got in reversed([*zip(SIGNALS, received, strict=True)]) if got), None)
        if number is not None and self._received is None and self._reports:
            self._reports = False
            say("stopping after this step: another rank received a signal", error=True)
        return number, due

    # -- saving -----------------------------------------------------------------------------------------------------

    def _save(self, trainer: Trainer) -> None:
        """Write last.ckpt; the one before becomes previous.ckpt. At any moment two complete files have these names."""
        kept = self._keep_old() if trainer.is_global_zero else None
        try:
            trainer.save_checkpoint(self.path)
        except BaseException:
            if kept is not None:
                kept.unlink(missing_ok=True)
            raise
        if kept is not None:
            kept.replace(self.previous)
        self._valid = True
        self._saved_at, self._saved_time = trainer.global_step, time.monotonic()

    def _keep_old(self) -> Path | None:
        """Give the present last.ckpt a second, hidden name, which survives its replacement."""
        if not self.path.is_file() or not self._is_valid():
            return None
        kept = self.path.with_name(f".previous.ckpt{PARTIAL}")
        try:
            kept.unlink(missing_ok=True)
            try:
                os.link(self.path, kept)
            except OSError:  # a filesystem without hard links
                shutil.copyfile(self.path, kept)
        except OSError as error:
            raise UserError(f"cannot keep {self.path} as previous.ckpt: {error.strerror}") from error
        return kept

    def _is_valid(self) -> bool:
        """Whether last.ckpt is worth keeping: a damaged one must not replace a valid previous.ckpt."""
        if not self._valid:
            try:
                load_verified(self.path)
            except UserError:
                return False
        return True

    def _check_space(self, trainer: Trainer, module: LightningModule) -> None:
        """Refuse to start where the checkpoints would fill the disk.

        Raises:
            UserError: naming what is free and what is needed.
        """
        there = [p.stat().st_size for p in self.path.parent.glob("*.ckpt")]
        size = max(there, default=0) or _expected_size(trainer, module)
        free = shutil.disk_usage(self.path.parent).free
        if free + sum(there) < FILES * size:
            raise UserError(
                f"the disk of {self.path.parent} has {free / 1e6:.0f} MB free, and this run keeps {FILES} checkpoints "
                f"of about {size / 1e6:.0f} MB: make room, or write elsewhere with `trainer.default_root_dir=DIR`"
            )

    # -- signals ----------------------------------------------------------------------------------------------------

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            if is_terminal(sys.stdout):
                with contextlib.suppress(OSError):  # the terminal is gone
                    os.write(1, b"\x1b[?25h\n")  # a progress bar hides the cursor
            os._exit(128 + number)  # now means now: no clean-up that could hang
        self._received = number
        if self._reports:
            write_line("stopping after this step; a second signal stops at once")

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._handlers = {}


def _expected_size(trainer: Trainer, module: LightningModule) -> int:
    """About how many bytes a checkpoint is going to have, before the optimizer has any state."""
    trained = sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
    everything = sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])
    states = 2 if any("Adam" in type(optimizer).__name__ for optimizer in trainer.optimizers) else 1
    averaged = everything if as_task(module).ema_decay is not None else 0
    return everything + averaged + states * trained
