"""Limit of a run's time, ``trainer.max_time``: each start has all of it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Timer

from lit_cnn.errors import UserError

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "min": "minutes", "s": "seconds"}


class TimeLimit(Timer):
    """Lightning's Timer, except that it stops after an optimizer step as ``max_steps`` does: a resume is exact.

    Lightning's own stops within an accumulation too, and validates where it stops.

    Attributes:
        is_up: whether the time is up.
    """

    is_up = False

    @property
    def state_key(self) -> str:
        """The name under which checkpoints keep the state: Lightning's own."""
        return "Timer"

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Check the time after an optimizer step."""
        steps = trainer.max_steps
        if (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches or 0 < steps <= trainer.global_step:
            return
        left = self.time_remaining()
        if trainer.strategy.broadcast(left is not None and left <= 0):
            self.is_up = True
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step


def exact(callback: Callback) -> Callback:
    """A :class:`TimeLimit` for a Timer that stops within epochs; other callbacks as they are."""
    if type(callback) is not Timer or callback._interval != "step" or (seconds := callback.time_remaining()) is None:
        return callback
    return TimeLimit(timedelta(seconds=seconds))


def parse_duration(value: str | timedelta | Mapping[str, Any], setting: str) -> str:
    """A length of time as Lightning writes it, ``DD:HH:MM:SS``.

    Args:
        value: that, ``HH:MM:SS``, ``90s``, ``5m``, ``1h30m``, ``2d``, or arguments of timedelta.
        setting: its name, for the message.

    Raises:
        UserError: it is none of these, or no time at all.
    """
    found: timedelta | None = None
    if isinstance(value, str) and value.startswith("{"):
        with contextlib.suppress(ValueError):  # refused below
            value = json.loads(value)
    if isinstance(value, timedelta):
        found = value
    elif isinstance(value, Mapping):
        if set(value) <= {"weeks", *_UNITS.values()} and all(isinstance(v, (int, float)) for v in value.values()):
            found = timedelta(**value)
    elif clock := re.fullmatch(r"(?:(\d+):)?(\d+):(\d\d):(\d\d)", value.strip()):
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        found = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    elif re.fullmatch(r"(\d+ *(d|h|min|m|s) *)+", value.strip()):
        parts = re.findall(r"(\d+) *(d|h|min|m|s)", value)
        with contextlib.suppress(OverflowError):  # refused below
            found = sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
    if found is None or found < timedelta(seconds=1):
        raise UserError(f"`{setting}={value}`: give 90s, 5m, 1h30m, 2d, or days:hours:minutes:seconds, 00:12:00:00")
    minutes, seconds = divmod(round(found.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days:02}:{hours:02}:{minutes:02}:{seconds:02}"
