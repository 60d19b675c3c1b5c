"""Throughput (images/s) and time left of a run, and how both are printed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from lightning.pytorch import Trainer

NUMBER, SPEED, CLOCK = 5, len("12,345 img/s"), len("1:02:03")  # columns of a value, whatever it is


class Meter:
    """Measures images and batches per second of work, over about the last ``window`` seconds of it.

    The first batch is not counted once there are others: it waits for workers to start and kernels to be chosen.
    Times are given by the caller, in seconds of any one clock.
    """

    def __init__(self, window: float = 30.0) -> None:
        self.seconds = 0.0
        self.images = 0
        self.batches = 0
        self._window = window
        self._since: float | None = None
        self._history: deque[tuple[float, int, int]] = deque()

    def resume(self, now: float) -> None:
        """Continue after a pause."""
        self._since = now

    def pause(self) -> None:
        """What follows is no work, until ``resume``."""
        self._since = None

    def step(self, images: int, now: float) -> None:
        """Count a batch that is done, and the time since the one before."""
        self.seconds += now - self._since if self._since is not None else 0.0
        self._since = now
        self.images += images
        self.batches += 1
        # A fifth of a second between entries keeps them few.
        if not self._history or self.seconds - self._history[-1][0] >= 0.2:
            self._history.append((self.seconds, self.images, self.batches))
            while self._history[0][0] < self.seconds - self._window and len(self._history) > 2:
                self._history.popleft()

    @property
    def images_per_second(self) -> float:
        """Images per second; 0 before anything was measured."""
        seconds, images, _ = self._recent()
        return images / seconds if seconds > 0 else 0.0

    @property
    def seconds_per_batch(self) -> float | None:
        """Seconds per batch; None before anything was measured."""
        seconds, _, batches = self._recent()
        return seconds / batches if seconds > 0 else None

    def _recent(self) -> tuple[float, int, int]:
        seconds, images, batches = self._history[0] if self._history else (0.0, 0, 0)
        if batches == self.batches:  # there is only the first
            return self.seconds, self.images, self.batches
        return self.seconds - seconds, self.images - images, self.batches - batches


def number(value: float) -> str:
    """A number in at most five characters, for columns: ``0.412``, ``12.35``, ``1e-05``, ``inf``."""
    size = abs(value)
    if not math.isfinite(value) or size == 0 or 1e-3 <= size < 99999.5:
        digits = next((d for d, limit in ((3, 9.9995), (2, 99.995), (1, 999.95)) if size < limit), 0)
        return f"{value:.{digits}f}"
    return f"{value:.0e}"


def speed(images_per_second: float) -> str:
    """``1,234 img/s``, with a decimal below 10."""
    return f"{images_per_second:,.{0 if images_per_second >= 10 else 1}f} img/s"


def clock(seconds: float | None) -> str:
    """``1.2 s``, ``12 s``, ``3:20``, ``1:02:03``; ``?`` for None."""
    if seconds is None:
        return "?"
    if seconds < 59.5:
        return f"{seconds:.{0 if seconds >= 9.95 else 1}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def speed_and_clock(rate: str, left: float | None) -> list[str]:
    """A speed and the time left, in columns."""
    return [f"{rate:>{SPEED}}", f"{clock(left):>{CLOCK}} left"]


def names_of(score: str) -> tuple[dict[str, str], dict[str, str]]:
    """Metrics of training and of validation in a line, and what they are called in it; ``score``: such as acc."""
    return {"train/loss": "loss", f"train/{score}": score}, {"val/loss": "val/loss", f"val/{score}": score}


def columns(metrics: Mapping[str, float], names: Mapping[str, str]) -> str:
    """Metrics in columns of fixed width, blank for those that were not measured.

    Args:
        metrics: by name.
        names: of those to show, and what they are called.
    """
    cells = {name: f"{label} {number(metrics.get(name, 0.0)):>{NUMBER}}" for name, label in names.items()}
    return " ".join(cell if name in metrics else " " * len(cell) for name, cell in cells.items())


def batches(total: float) -> str:
    """A number of batches that may be infinite."""
    return f"{int(total)}" if math.isfinite(total) else "?"


def epoch_of(trainer: Trainer, epoch: int | None = None) -> str:
    """`` 3/10``, counted from 1, for the current epoch or the given one; ``  3`` where no number of epochs is set.

    As wide for every epoch of a run.
    """
    epoch = trainer.current_epoch if epoch is None else epoch
    last = trainer.max_epochs
    return f"{epoch + 1:>{len(str(last))}}/{last}" if last is not None and last >= 0 else f"{epoch + 1:>3}"


def time_left(trainer: Trainer, meter: Meter, left: float, pause: float) -> tuple[float | None, float | None]:
    """Return the seconds to the end of the epoch and to the end of the fit, None where it is not known.

    Args:
        trainer: Its epochs and steps to come are counted.
        meter: Measured the speed.
        left: Batches to come in this epoch; may be infinite.
        pause: Seconds of an epoch that go to validation, checkpoints and the like.
    """
    per_batch = meter.seconds_per_batch
    if per_batch is None or not math.isfinite(left):
        return None, None
    in_all = math.inf
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        in_all = left + (trainer.max_epochs - trainer.current_epoch - 1) * trainer.num_training_batches
    if trainer.max_steps > 0:
        in_all = min(in_all, (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches)
    epoch = left * per_batch + pause
    if not math.isfinite(in_all):
        return epoch, None
    epochs = 1 + math.ceil(max(0, in_all - left) / trainer.num_training_batches)
    return epoch, in_all * per_batch + epochs * pause
