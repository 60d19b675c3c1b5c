"""When the command began, before anything heavy was imported. Standard library only."""

from __future__ import annotations

import time

_began = time.perf_counter()


def start() -> None:
    """Note the time; called once a command."""
    global _began
    _began = time.perf_counter()


def elapsed() -> float:
    """Seconds since the command began."""
    return time.perf_counter() - _began
