"""Measure memory: what this process uses, its peak, and what is still available."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from lit_cnn.utils.allocator import trim

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # its only other value

MEASURABLE = resource is not None  # whether this system says how much memory is used and left


def used() -> int:
    """Resident memory of this process in bytes; its peak where the system does not report it (not Linux)."""
    trim()  # freed blocks do not count
    status = read_fields(Path("/proc/self/status"))
    return status["VmRSS"] if "VmRSS" in status else peak()


def peak() -> int:
    """Peak resident memory of this process in bytes, since :func:`reset_peak` where that is supported."""
    status = read_fields(Path("/proc/self/status"))
    if "VmHWM" in status:
        return status["VmHWM"]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if os.uname().sysname == "Darwin" else 1024 * most  # macOS counts in bytes


def private() -> int:
    """Private dirty memory in bytes: shared with no other process and backed by no file (Linux, else 0).

    Pages of a mapped file do not count: the system drops them when memory is short.
    """
    return read_fields(Path("/proc/self/smaps_rollup")).get("Private_Dirty", 0)


def reset_peak() -> None:
    """Reset the value that :func:`peak` returns, where the system supports it (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def available(root: Path = Path("/")) -> int:
    """Bytes that this process can still allocate before it fails or is killed: the tightest of all limits.

    Args:
        root: parent of ``proc`` and ``sys``.
    """
    info = read_fields(root / "proc" / "meminfo")
    # without Linux's estimate, half of the physical memory
    left = [info.get("MemAvailable") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    status = read_fields(root / "proc" / "self" / "status")
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY and name in status:
            left.append(most - status[name])
    return max(0, min(left + list(_available_in_cgroups(root))))


def _available_in_cgroups(root: Path) -> Iterator[int]:
    """Bytes left in every control group (container, cluster job) of this process."""
    with contextlib.suppress(OSError):
        for line in (root / "proc" / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":  # version 1
                mount, limit, usage = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
                cache = "total_inactive_file"
            elif not controllers:
                mount, limit, usage = root / "sys/fs/cgroup", "memory.max", "memory.current"
                cache = "inactive_file"
            else:
                continue
            # inside a container the path may be the host's: then the group is the mount itself
            inner = mount / path.lstrip("/")
            for folder in (inner, *inner.parents):
                if mount not in (folder, *folder.parents):
                    break
                with contextlib.suppress(OSError, ValueError):  # "max" is not a number: no limit here
                    most, now = int((folder / limit).read_text()), int((folder / usage).read_text())
                    # cached file contents are dropped when memory is needed
                    yield most - now + read_fields(folder / "memory.stat").get(cache, 0)


def read_fields(file: Path) -> dict[str, int]:
    """Parse lines such as ``VmRSS:  5120 kB`` or ``inactive_file 4096`` into bytes by name; empty without the file."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            if match := re.fullmatch(r"(\w+):?\s+(\d+)( kB)?", line.strip()):
                found[match[1]] = int(match[2]) * (1024 if match[3] else 1)
    return found


def format_bytes(count: float) -> str:
    """``512 bytes``, ``3 MiB``, ``1.5 GiB``."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
