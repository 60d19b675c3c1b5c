"""CPU cores that a process may use."""

from __future__ import annotations

import os


def num_cores(processes: int = 1) -> int:
    """Cores for each of so many processes on this machine, at least 1; CPU affinity counts."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // processes)
