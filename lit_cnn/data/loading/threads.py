"""Threads that decode pictures: how many, given or found by trying. Results never depend on their number."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch
from torch import Tensor

from lit_cnn.data.loading.loader import Source
from lit_cnn.errors import UserError

Workers = int | Literal["auto"] | None

MOST = 8  # threads, where nobody says and nothing is measured
MOST_TRIED = 16
SECONDS = 1.0  # in all, for the turns of all candidates
TURNS = 3  # of each; the fastest one counts, since other programs only ever slow one down
NEARLY = 0.95  # of the fastest: fewer threads that come so close are as good, and leave the cores to the network
IMAGES, BYTES = 1024, 64 * 2**20  # that are tried at most
Task = tuple[Callable[[], None], float]  # and the number of images it makes


def check(workers: Workers) -> None:
    """Refuse what is no number of threads.

    Raises:
        UserError: for a negative number.
    """
    if isinstance(workers, int) and workers < 0:
        raise UserError(f"data.workers is {workers}: it must not be negative")


def number(workers: Workers, cores: int) -> int:
    """Threads where nothing is measured: those given, else one a core, but not many."""
    return workers if isinstance(workers, int) else min(cores, MOST)


def measured(source: Source, rows: Tensor, batch_size: int, epoch: int | None, most: int) -> tuple[int, str]:
    """The fewest threads that decode nearly as fast as any number of them, and the images per second of each.

    Args:
        source: where images come from.
        rows: int64 (N,), of which images.
        batch_size: how many are asked of the source at a time.
        epoch: see :meth:`Source.tasks`.
        most: largest number of threads to try.
    """
    image = 1
    for side in source.shape:
        image *= side
    rows = rows[: max(1, min(IMAGES, BYTES // image))]
    tasks: list[Task] = []
    for part in rows.split(batch_size):
        found = source.tasks(part, torch.empty((len(part), *source.shape), dtype=torch.uint8), epoch)
        tasks += [(task, len(part) / len(found)) for task in found]
    speeds = dict.fromkeys(candidates(most), 0.0)
    endless = itertools.cycle(tasks)
    for _ in range(TURNS):
        for threads in speeds:
            speeds[threads] = max(speeds[threads], speed(endless, threads, SECONDS / TURNS / len(speeds)))
    told = ", ".join(f"{threads}: {images:,.0f}" for threads, images in speeds.items())
    return fewest(speeds), f"images per second by number of threads: {told}"


def candidates(most: int) -> list[int]:
    """1, 2, 4, ... and ``most`` itself, which is no power of two on many machines."""
    most = min(most, MOST_TRIED)
    return [*itertools.takewhile(lambda n: n < most, (2**power for power in itertools.count())), most]


def speed(tasks: Iterable[Task], threads: int, seconds: float) -> float:
    """Images per second of so many threads that take ``tasks`` in turn for so long."""

    def work() -> float:
        images = 0.0
        for task, made in tasks:
            task()
            images += made
            if time.perf_counter() >= end:
                break
        return images

    with ThreadPoolExecutor(threads, thread_name_prefix="lit_cnn-workers") as pool:
        began = time.perf_counter()
        end = began + seconds
        images = sum(pool.map(lambda _: work(), range(threads)))
        return images / (time.perf_counter() - began)


def fewest(speeds: dict[int, float]) -> int:
    """The smallest number of threads whose speed is nearly the highest."""
    return min(threads for threads, images in speeds.items() if images >= NEARLY * max(speeds.values()))
