"""Standard streams that cannot stop a command: closed, without a reader, or in an encoding that lacks letters."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

# The reader of a pipe has gone (head), or the terminal has (a connection that broke).
_GONE = {errno.EPIPE, errno.EIO, errno.ESHUTDOWN}


class _Stream:
    """A text stream whose output is dropped once nobody can read it any more.

    Args:
        stream: where the text goes.
    """

    keep_going = False  # on any other error too, such as a full disk

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write; returns the number of characters, those dropped too."""
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write the lines one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what is left."""
        with self._dropping():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _to_nowhere(self._stream)  # else Python fails again when it flushes at its end
            if error.errno not in _GONE and not self.keep_going:
                raise


def _to_nowhere(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):  # a stream without a file behind it
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
        stream.flush()


@contextlib.contextmanager
def reliable_streams() -> Iterator[None]:
    """Replace closed standard streams by the null device, and let none of them stop what runs meanwhile.

    Letters that an encoding lacks become question marks. Does nothing within another one.
    """
    _open_closed()
    before = sys.stdout, sys.stderr
    if isinstance(sys.stdout, _Stream):
        yield
        return
    for stream in before:
        if getattr(stream, "errors", "") in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    ours = _Stream(before[0]), _Stream(before[1])
    sys.stdout, sys.stderr = ours  # it has all attributes of the stream within
    try:
        yield
    finally:
        for stream in ours:
            with contextlib.suppress(OSError, ValueError):  # its reader is gone, or it was closed
                stream.flush()
        if sys.stdout is ours[0]:
            sys.stdout = before[0]
        if sys.stderr is ours[1]:
            sys.stderr = before[1]


@contextlib.contextmanager
def keep_going() -> Iterator[None]:
    """Let no error of standard output or standard error stop what runs meanwhile, a full disk neither."""
    before, _Stream.keep_going = _Stream.keep_going, True
    try:
        yield
    finally:
        _Stream.keep_going = before


def _open_closed() -> None:
    """Open the null device for closed streams; the next file opened would take their numbers, and their output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)  # for the processes of other ranks
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: PTH123, SIM115


def is_terminal(stream: Any) -> bool:
    """Whether somebody sees a stream on a terminal; closed and missing ones are none."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False
