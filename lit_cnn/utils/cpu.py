"""CPU cores that a process may use, and what they can compute."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path


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


@cache
def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether products of bfloat16 matrices are instructions of this CPU (AVX512-BF16, AMX, ARM's BF16).

    Without them torch converts the numbers one by one. False where the system does not say (only Linux does).
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    names = {"bf16"} if platform.machine().startswith(("aarch64", "arm")) else {"avx512_bf16", "amx_bf16"}
    return line is not None and not names.isdisjoint(line[1].split())
