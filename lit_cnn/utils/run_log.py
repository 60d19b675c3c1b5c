"""log.txt in the run folder: every line that a training run prints, appended to when it is resumed.

Lines printed before the folder is known are kept until then. Every line is written at once, and an error of the file
never stops the run.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "log.txt"
_DIVIDER = "-" * 80
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_LOGGERS = ("lightning.pytorch", "lightning.fabric")


class _Log:
    """Where lines go.

    Attributes:
        path: the file, once the run folder is known.
        early: lines of before; ``None`` where nothing is recorded.
    """

    def __init__(self) -> None:
        self.path: Path | None = None
        self.early: list[str] | None = None


_log = _Log()


def is_recording() -> bool:
    """Whether lines are kept or written."""
    return _log.path is not None or _log.early is not None


def write(text: str) -> None:
    """Add lines to the log, if there is one."""
    if not is_recording():
        return
    text = "".join(f"{line.rstrip()}\n" for line in _CONTROL.sub("", text).rstrip().split("\n"))
    if _log.path is None:
        assert _log.early is not None
        _log.early.append(text)
    else:
        _append(_log.path, text)


def write_to(folder: Path) -> None:
    """Write the lines so far, and all that follow, to the log of a run folder."""
    if _log.early is None:
        return
    path = folder / NAME
    with contextlib.suppress(OSError):  # there is none yet
        if path.stat().st_size:
            _append(path, f"\n{_DIVIDER}\n")
    _append(path, "".join(_log.early))
    _log.path, _log.early = path, None


def _append(path: Path, text: str) -> None:
    # Opened each time: the folder may be moved, or removed where the run does not start. A log that cannot be written
    # must not stop the run.
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Write nothing meanwhile: what a trial would say is said again by the run."""
    before, _log.path, _log.early = (_log.path, _log.early), None, None
    try:
        yield
    finally:
        _log.path, _log.early = before


class _Handler(logging.Handler):
    """Writes a message to the log, and passes it on to another handler.

    Args:
        after: the other one.
    """

    def __init__(self, after: logging.Handler | None = None) -> None:
        super().__init__(after.level if after is not None else logging.NOTSET)
        self._after = after

    def emit(self, record: logging.LogRecord) -> None:
        write(self.format(record))
        if self._after is not None:
            self._after.handle(record)


@contextlib.contextmanager
def recording(*head: str) -> Iterator[None]:
    """Record lines, warnings and messages of loggers, from ``head`` on, for :func:`write_to`."""
    before, show, last_resort = (_log.path, _log.early), warnings.showwarning, logging.lastResort
    _log.path, _log.early = None, [f"{line}\n" for line in head]
    handler = _Handler()
    logging.lastResort = _Handler(last_resort)  # prints what loggers without a handler have to say

    def show_and_write(message: Any, category: Any, filename: str, lineno: int, *rest: Any, **options: Any) -> None:
        write(warnings.formatwarning(message, category, filename, lineno))
        show(message, category, filename, lineno, *rest, **options)

    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    warnings.showwarning = show_and_write
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(handler)
        logging.lastResort = last_resort
        if warnings.showwarning is show_and_write:
            warnings.showwarning = show
        _log.path, _log.early = before
