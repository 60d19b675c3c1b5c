"""SIGTERM handler for when there is no training step to finish."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


def write_line(text: str) -> None:
    """Write a line to standard error from a signal handler, where print is not safe."""
    with contextlib.suppress(OSError):  # closed, or nobody is there to read it
        os.write(2, f"\n{text}\n".encode())


def terminate(number: int, frame: FrameType | None) -> None:
    """Signal handler: exit with the shell's status for the signal, where there is nothing to save."""
    write_line("stopped")
    raise SystemExit(128 + number)


@contextlib.contextmanager
def handle_sigterm() -> Iterator[None]:
    """Handle SIGTERM by :func:`terminate` unless somebody else already handles it."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
