"""Memory: how much is free, and one line instead of a traceback when it runs out."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lit_cnn.errors import UserError
from lit_cnn.utils.allocator import give_back

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # its only other value

# How the CPU's allocator, oneDNN, CUDA, cuDNN, cuBLAS and Apple's GPUs say it, in a plain RuntimeError.
WORDS = re.compile(
    r"can('t|not) allocate memory|bad_alloc|could not create a memory|out of memory|_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
EVALUATION = 1024  # images; larger batches are hardly faster
HALF = ("16", "bf16", "16-mixed", "bf16-mixed", "16-true", "bf16-true")  # precisions that already take half the memory


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return (
        isinstance(error, (RuntimeError, OSError))
        and not isinstance(error, UserError)
        and bool(WORDS.search(str(error)))
    )


@contextlib.contextmanager
def out_of_memory_told(command: str, config: Any, resumes: bool) -> Iterator[None]:
    """Turn a failed allocation into one line with the batch size and what to try.

    Args:
        command: fit, validate, test or predict.
        config: its parsed settings.
        resumes: whether training goes on from a checkpoint.

    Raises:
        UserError: in place of the error.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        batch = _batch(command, config)
        wanted = _wanted(str(error))
        images = f"batches of {batch} image{'s' if batch > 1 else ''}"
        what = f"out of memory in {command} with {images}{f' ({wanted})' if wanted else ''}"
        raise UserError(f"{what}: try {', or '.join(_remedies(command, config, resumes))}") from error


def evaluation_batch(training: int) -> int:
    """Images that an evaluation takes at once where training takes so many: it keeps nothing for a backward pass."""
    return max(training, min(4 * training, EVALUATION))


def _batch(command: str, config: Any) -> int:
    """Images per batch; in an evaluation, the most that the data set puts into one."""
    data = config.data.init_args
    return int(data.batch_size if command == "fit" else data.eval_batch_size or evaluation_batch(data.batch_size))


def _remedies(command: str, config: Any, resumes: bool) -> list[str]:
    batch, trainer = _batch(command, config), config.trainer
    remedies = []
    if batch > 1 and command == "fit":
        steps = 2 * trainer.accumulate_grad_batches
        remedies.append(
            f"--batch-size {batch // 2} --trainer.accumulate_grad_batches {steps}{' --resume_anyway' * resumes} "
            f"({'' if batch % 2 == 0 else 'about '}as many images per optimizer step)"
        )
        if not resumes:
            remedies.append("--data.batch_size auto (the largest that fits)")
    elif batch > 1:
        remedies.append(f"--batch-size {batch // 2}")
    if command == "fit" and not resumes and str(trainer.precision) not in HALF:
        remedies.append("--amp (bfloat16: about half the memory)")
    if batch == 1:
        remedies.append("a smaller --img-size, or a smaller --model.backbone")
    return remedies


def _wanted(message: str) -> str:
    if found := re.search(r"ried to allocate ([\d.]+ ?[KMGT]i?B)", message):
        return f"{found[1]} more were wanted"
    if found := re.search(r"ried to allocate (\d+) bytes", message):
        return f"{shown(int(found[1]))} more were wanted"
    return ""


def shown(count: float) -> str:
    """A number of bytes as a person says it."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


# -- this process, on the CPU -----------------------------------------------------------------------------------------


def used() -> int:
    """Bytes of memory this process needs now; where the system does not tell, the most it has held."""
    give_back()  # what is free counts as free
    status = numbers(Path("/proc/self/status"))
    return status["VmRSS"] if "VmRSS" in status else peak()


def peak() -> int:
    """The most bytes of memory this process has held, since ``forget_peak`` where that works."""
    status = numbers(Path("/proc/self/status"))
    if "VmHWM" in status:
        return status["VmHWM"]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if os.uname().sysname == "Darwin" else 1024 * most  # macOS counts in bytes


def private() -> int:
    """Bytes that this process shares with no other and that no file holds: what it cannot give back (Linux).

    Pages of a mapped file are not among them: the system drops these when memory is short.
    """
    return numbers(Path("/proc/self/smaps_rollup")).get("Private_Dirty", 0)


def forget_peak() -> None:
    """Start measuring ``peak`` anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def available(root: Path = Path("/")) -> int:
    """Bytes that this process can still take before something fails or is killed: the tightest of all limits.

    Args:
        root: where proc and sys are.
    """
    info = numbers(root / "proc" / "meminfo")
    # without Linux's estimate, half of what there is
    left = [info.get("MemAvailable") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    status = numbers(root / "proc" / "self" / "status")
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY and name in status:
            left.append(most - status[name])
    return max(0, min(left + list(_left_in_groups(root))))


def _left_in_groups(root: Path) -> Iterator[int]:
    """Bytes left in every control group (of a container or a cluster's job) that this process is in."""
    with contextlib.suppress(OSError):
        for line in (root / "proc" / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":  # version 1
                place, limit, usage = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
                cache = "total_inactive_file"
            elif not controllers:
                place, limit, usage = root / "sys/fs/cgroup", "memory.max", "memory.current"
                cache = "inactive_file"
            else:
                continue
            # inside a container the path may be the host's: then the group is the mount itself
            inner = place / path.lstrip("/")
            for folder in (inner, *inner.parents):
                if place not in (folder, *folder.parents):
                    break
                with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit here
                    most, now = int((folder / limit).read_text()), int((folder / usage).read_text())
                    # file contents that the system keeps only as long as nobody needs the memory
                    yield most - now + numbers(folder / "memory.stat").get(cache, 0)


def numbers(file: Path) -> dict[str, int]:
    """Lines such as ``VmRSS:  5120 kB`` or ``inactive_file 4096`` as bytes; nothing where there is no such file."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            if match := re.fullmatch(r"(\w+):?\s+(\d+)( kB)?", line.strip()):
                found[match[1]] = int(match[2]) * (1024 if match[3] else 1)
    return found
