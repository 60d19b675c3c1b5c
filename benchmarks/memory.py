"""Memory and time against the size of a data set: ``python -m benchmarks.memory``.

Images decoded once into a cache on disk (``--data.cache disk``), then read through in random order, each time in a
fresh process. A cache is mapped into memory, so what a process cannot give back (``private``) stays the same however
much data there is; the pages of the file (``mapped``) are the system's to drop, and counted once for all processes
that map them (``shared by all``: each page divided among its users, summed). The last row reads the largest cache in
two processes at once.

``--budget`` limits the address space left for private memory (RLIMIT_DATA), in MiB over what the process starts with:
with a budget of a tenth of the largest cache, it is read all the same.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.turns import write
from lit_cnn.data.cache import pixel_store
from lit_cnn.data.transforms.rng import permutation
from lit_cnn.utils import memory

FACTORS = (1, 2, 4, 8)


def cache_spec(count: int, side: int) -> pixel_store.CacheSpec:
    """Images of noise: ``count`` of ``side`` x ``side`` pixels."""

    def decode(path: Path) -> np.ndarray:
        return np.random.default_rng(int(path.name)).integers(0, 256, (side, side, 3), np.uint8)

    return pixel_store.CacheSpec(Path(), [str(i) for i in range(count)], decode, f"noise {side}", 1, None)


def smaps() -> dict[str, int]:
    """Bytes of this process's memory by kind, as Linux counts them."""
    found = memory.read_fields(Path("/proc/self/smaps_rollup"))
    return {kind: found[kind] for kind in ("Private_Dirty", "Pss", "Rss")}


def read(folder: str, count: int, side: int, budget: int, barrier: Any, answers: Any) -> None:
    """Go through a cache in random order, as training does; answer with seconds and memory."""
    torch.set_num_threads(1)
    before = smaps()
    if budget:
        data = memory.read_fields(Path("/proc/self/status"))["VmData"]
        resource.setrlimit(resource.RLIMIT_DATA, (data + budget * 2**20, resource.RLIM_INFINITY))
    found = pixel_store.on_disk(cache_spec(count, side), Path(folder), "noise")
    barrier.wait()
    start, total = time.perf_counter(), 0
    for i in permutation(0, 0, count).tolist():
        total += int(found.image(i)[::8].sum())
    seconds = time.perf_counter() - start
    barrier.wait()  # all have their pages now
    after = smaps()
    barrier.wait()
    difference = {name: after[name] - before[name] for name in after}
    answers.put((seconds, difference["Private_Dirty"], difference["Rss"], difference["Pss"], total))


def measure(folder: str, count: int, side: int, processes: int, budget: int) -> dict[str, float]:
    """Read the cache in ``folder`` in so many processes at once; the largest of each, ``pss`` summed."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    args = (folder, count, side, budget, barrier, answers)
    children = [context.Process(target=read, args=args, daemon=True) for _ in range(processes)]
    for child in children:
        child.start()
    found = [answers.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    seconds, private, mapped, pss, _ = zip(*found, strict=True)
    return {
        "images": count, "bytes": count * side * side * 3, "processes": processes, "seconds": max(seconds),
        "private": max(private), "resident": max(mapped), "shared": sum(pss),
    }  # fmt: skip


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unit", type=int, default=500, help="images in the smallest cache (500)")
    parser.add_argument("--side", type=int, default=336, help="of an image, in pixels (336)")
    parser.add_argument("--budget", type=int, default=0, help="MiB of private memory a reader may take; 0: no limit")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    given = parser.parse_args(args)
    rows = []
    for factor, processes in (*((factor, 1) for factor in FACTORS), (FACTORS[-1], 2)):
        with tempfile.TemporaryDirectory() as folder:
            count = factor * given.unit
            start = time.perf_counter()
            pixel_store.on_disk(cache_spec(count, given.side), Path(folder), "noise")
            built = time.perf_counter() - start
            found = measure(folder, count, given.side, processes, given.budget)
            rows.append({"factor": factor, **found, "build_seconds": built})
    print("data  processes      store    build     read   private  resident  shared by all")
    for row in rows:
        sizes = [f"{row[name] / 2**20:7.0f}M" for name in ("private", "resident", "shared")]
        times = [f"{row[name]:7.1f}s" for name in ("build_seconds", "seconds")]
        print(f"{row['factor']:3}x {row['processes']:10} {row['bytes'] / 2**20:9.0f}M {' '.join(times + sizes)}")
    write(given.json, {"budget": given.budget, "side": given.side, "rows": rows})


if __name__ == "__main__":
    main()
