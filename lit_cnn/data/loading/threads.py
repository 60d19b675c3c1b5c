"""Number of threads that decode image files: given, by default, or benchmarked. Results never depend on it."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch
from torch import Tensor

from lit_cnn.data.loading.loader import Source

Workers = int | Literal["auto"] | None

MAX_DEFAULT = 8  # threads, where the number is neither given nor benchmarked
MAX_BENCHMARKED = 16
SECONDS = 1.0  # total time of a benchmark
REPEATS = 3  # of each candidate; the fastest counts, since other programs only ever slow one down
NEARLY = 0.95  # of the fastest: fewer threads this close to it leave their cores to the network
MAX_IMAGES, MAX_BYTES = 1024, 64 * 2**20  # decoded in a benchmark
Task = tuple[Callable[[], None], float]  # and the number of images that it decodes


def default_num_threads(workers: Workers, cores: int) -> int:
    """Return ``workers`` where it is a number, else the number of cores, at most 8."""
    return workers if isinstance(workers, int) else min(cores, MAX_DEFAULT)


def benchmark_threads(
    source: Source, indices: Tensor, batch_size: int, epoch: int | None, max_threads: int
) -> tuple[int, str]:
    """Find the fewest threads that decode nearly as fast as any number of them.

    Args:
        source: Where images come from.
        indices: int64 (N,), of the samples to decode.
        batch_size: Samples asked of the source at a time.
        epoch: See :meth:`Source.tasks`.
        max_threads: Largest number of threads to try.

    Returns:
        The number, and a text with the images per second of every candidate.
    """
    indices = indices[: max(1, min(MAX_IMAGES, MAX_BYTES // math.prod(source.shape)))]
    tasks: list[Task] = []
    for some in indices.split(batch_size):
        found = source.tasks(some, torch.empty((len(some), *source.shape), dtype=torch.uint8), epoch)
        tasks += [(task, len(some) / len(found)) for task in found]
    speeds = dict.fromkeys(candidates(max_threads), 0.0)
    endless = itertools.cycle(tasks)
    for _ in range(REPEATS):
        for threads in speeds:
            speeds[threads] = max(speeds[threads], speed(endless, threads, SECONDS / REPEATS / len(speeds)))
    measured = ", ".join(f"{threads}: {images:,.0f}" for threads, images in speeds.items())
    return fewest_threads(speeds), f"images per second by number of threads: {measured}"


def candidates(max_threads: int) -> list[int]:
    """Return 1, 2, 4, ... and ``max_threads`` itself, which is not a power of two on many machines."""
    largest = min(max_threads, MAX_BENCHMARKED)
    powers = (2**power for power in itertools.count())
    return [*itertools.takewhile(lambda threads: threads < largest, powers), largest]


def speed(tasks: Iterable[Task], threads: int, seconds: float) -> float:
    """Measure images per second of ``threads`` threads that run ``tasks`` for ``seconds`` seconds."""

    def work() -> float:
        images = 0.0
        for task, decoded in tasks:
            task()
            images += decoded
            if time.perf_counter() >= end:
                break
        return images

    with ThreadPoolExecutor(threads, thread_name_prefix="lit_cnn-workers") as pool:
        began = time.perf_counter()
        end = began + seconds
        images = sum(pool.map(lambda _: work(), range(threads)))
        return images / (time.perf_counter() - began)


def fewest_threads(speeds: dict[int, float]) -> int:
    """Return the smallest number of threads whose speed is nearly the highest."""
    return min(threads for threads, images in speeds.items() if images >= NEARLY * max(speeds.values()))
