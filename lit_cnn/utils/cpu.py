"""CPU cores that a process may use."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping


def num_cores(processes: int = 1) -> int:
    """Cores for each of so many processes on this machine, at least 1; CPU affinity counts.

    SLURM may give each of its tasks cores of its own: these are not divided again.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // max(1, min(processes, _sharing(usable, os.environ) or processes)))


def _sharing(usable: int, environment: Mapping[str, str]) -> int | None:
    """Tasks of a SLURM step that share the ``usable`` cores of this one; None where SLURM did not start the ranks."""
    counts = environment.get("SLURM_STEP_TASKS_PER_NODE", "")  # such as 2(x3),1; absent without srun
    tasks = [int(n) for n, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts) for _ in range(int(times or 1))]
    node, cores = environment.get("SLURM_NODEID", "0"), environment.get("SLURM_CPUS_ON_NODE", "")
    if not (node.isdecimal() and cores.isdecimal() and int(cores) > 0 and int(node) < len(tasks)):
        return None
    here = tasks[int(node)]
    return max(1, round(usable * here / int(cores))) if here > 1 else None
