"""Batch loader with an order that is a pure function of (seed, epoch), so that it resumes at any batch.

A plain iterable instead of a ``torch.utils.data.DataLoader``: Lightning leaves it as it is, so it shards by rank
itself. It has no position to save: it reads the trainer's progress counters.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lit_cnn.data.sampling import rows
from lit_cnn.data.transforms.rng import permutation
from lit_cnn.errors import UserError
from lit_cnn.utils.files import digest


class Batch(NamedTuple):
    """A batch as the loaders yield it and the steps receive it.

    ``image`` is uint8 (N, C, H, W) from a loader and normalised float32 after the transfer to the device; ``target``
    is int64 (N,), -1 where there is no label, or for image to image float32 (N, C, H, W) after the transfer; ``index``
    is int64 (N,), the samples' indices, as for ``sample_name``.
    """

    image: Tensor
    target: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index


class Source(Protocol):
    """Samples by index: an array in memory or a list of files."""

    targets: Tensor  # int64 (len,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width of every image, or the number of features."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the name of a sample for people."""
        ...

    def tasks(self, indices: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return functions that together fill ``out``, uint8 (len(indices), C, H, W); they may run in any threads.

        Random numbers are drawn by ``indices``; images are read at ``rows(indices)``, see ``lit_cnn.data.sampling``.
        ``epoch`` is None for evaluation; otherwise it decides the random crop of a source that crops as it decodes.
        """
        ...


def shuffled_order(indices: Tensor, seed: int, epoch: int) -> Tensor:
    """Return ``indices``, int64 (N,), shuffled for an epoch of training."""
    return indices[permutation(seed, epoch, len(indices))]


def trainer_position(trainer: Trainer) -> tuple[int, int]:
    """Return the epoch and the batches done in it: the trainer's progress, which a checkpoint restores."""
    loop = trainer.fit_loop
    epochs: Any = loop.epoch_progress.current
    return epochs.processed, loop.epoch_loop.batch_progress.current.ready


def gather(images: np.ndarray, indices: Tensor, out: Tensor) -> None:
    """Copy images at ``indices`` of uint8 (len, ...) to ``out``, in the calling thread alone.

    By numpy: torch would wake its other threads, which takes longer than the copy where other programs use the cores.
    """
    np.take(images, indices.numpy(), axis=0, out=out.numpy(), mode="clip")  # "raise" would copy twice


class BatchLoader:
    """Yield this rank's batches of one split.

    Training (``shuffle``): the order of epoch e is a pure function of (seed, e), see ``order``; global batch b is a
    slice of ``batch_size * world_size`` samples, of which each rank takes its part. The last, partial one is divided
    as evenly as possible, and dropped when a rank would get fewer than 2 samples (batch norm needs two), unless it
    is the only one. Evaluation: in order; rank r takes batches r, r + world_size, ..., so batches are composed the
    same for any number of ranks; ranks without a batch left yield one of no samples.

    ``len()`` is the number of batches of a full epoch, the same on every rank and constant.

    Args:
        source: The samples.
        indices: int64 (N,), of the samples of this split.
        batch_size: Samples per batch and rank.
        shuffle: Training order instead of the given one.
        seed: Decides the training order.
        rank: Global rank of this process.
        world_size: Number of processes.
        workers: Decoding threads; 0 decodes in the calling thread. Results do not depend on it.
        position: Returns (epoch, batches already done in it); called at the first batch of each epoch, not before.
        fingerprint: Of the data, to refuse a resume on other data.
        pin: Page-locked memory, for faster copies to a GPU.
        order: Maps (indices, seed, epoch) to the indices in training order.

    Attributes:
        waited: Seconds that the consumer has waited for batches so far.
    """

    def __init__(
        self,
        source: Source,
        indices: Tensor,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        position: Callable[[], tuple[int, int]] | None = None,
        fingerprint: str = "",
        pin: bool = False,
        order: Callable[[Tensor, int, int], Tensor] = shuffled_order,
    ) -> None:
        if shuffle and len(indices) < world_size:
            raise UserError(f"{len(indices)} training images cannot be divided among {world_size} processes: use fewer")
        self.source, self.indices = source, indices
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.rank, self.world_size, self.workers = rank, world_size, workers
        self.position = position
        self.fingerprint, self.pin, self.order = fingerprint, pin, order
        self.waited = 0.0

    def __len__(self) -> int:
        n, size = len(self.indices), self.batch_size * self.world_size
        if not self.shuffle:
            return -(-n // size) if n else 0
        full, rest = divmod(n, size)
        return full + (rest >= 2 * self.world_size or (full == 0 and rest > 0))

    @property
    def targets(self) -> Tensor:
        """Targets of all samples of this split, on any rank."""
        return self.source.targets[self.indices]

    def _batch_indices(self, b: int, order: Tensor) -> Tensor:
        """Return the indices of this rank's batch ``b``."""
        if not self.shuffle:
            start = (b * self.world_size + self.rank) * self.batch_size
            return order[start : start + self.batch_size]
        batch = order[b * self.batch_size * self.world_size :][: self.batch_size * self.world_size]
        small, larger = divmod(len(batch), self.world_size)  # the first `larger` ranks take one more
        start = self.rank * small + min(self.rank, larger)
        return batch[start : start + small + (self.rank < larger)]

    def __iter__(self) -> Iterator[Batch]:
        # A generator runs nothing before the first next(): Lightning calls iter() before it restores the loops, and
        # does not call it again on resume.
        epoch, done = self.position() if self.position is not None else (0, 0)
        order = self.order(self.indices, self.seed, epoch) if self.shuffle else self.indices
        plans = (self._batch_indices(b, order) for b in range(done, len(self)))
        task_epoch = epoch if self.shuffle else None
        if self.workers == 0:
            for indices in plans:
                began = time.perf_counter()
                batch, tasks = self._start(indices, task_epoch)
                for task in tasks:
                    task()
                self.waited += time.perf_counter() - began
                yield batch
            return
        # Enough batches that every thread has an image to decode while the consumer waits for the oldest one.
        prefetch = 2 + (2 * self.workers - 1) // self.batch_size
        pending: deque[tuple[Batch, list[Future[None]]]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="lit_cnn-decode")
        try:
            for indices in plans:
                batch, tasks = self._start(indices, task_epoch)
                pending.append((batch, [pool.submit(task) for task in tasks]))
                if len(pending) > prefetch:
                    yield self._finish(*pending.popleft())
            pool.shutdown(wait=False)  # nothing more to submit: the threads end after the last image
            while pending:
                yield self._finish(*pending.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, indices: Tensor, epoch: int | None) -> tuple[Batch, list[Callable[[], None]]]:
        dtype = getattr(self.source, "dtype", torch.uint8)  # features of images are floats
        shape_of = getattr(self.source, "shape_of", None)  # of a source whose images differ in size
        shape = self.source.shape if shape_of is None else shape_of(indices)
        image = torch.empty((len(indices), *shape), dtype=dtype, pin_memory=self.pin)
        target = self.source.targets[rows(indices)]
        batch = Batch(image, *(tensor.pin_memory() if self.pin else tensor for tensor in (target, indices)))
        return batch, self.source.tasks(indices, image, epoch)

    def _finish(self, batch: Batch, futures: list[Future[None]]) -> Batch:
        began = time.perf_counter()
        for future in futures:
            future.result()  # raises in the main thread what a decoding thread raised
        self.waited += time.perf_counter() - began
        return batch

    @cached_property
    def _split(self) -> str:
        return digest(self.indices.tolist())

    def state_dict(self) -> dict[str, Any]:
        """Return what must not change on an exact resume: plain types, no position."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "world_size": self.world_size,
            "samples": len(self.indices),
            "split": self._split,
            "fingerprint": self.fingerprint,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse to resume with another order of samples.

        Raises:
            UserError: Naming every difference in one line.
        """
        words = {"batch_size": "batch size", "world_size": "number of processes", "fingerprint": "data fingerprint"}
        mine = self.state_dict()
        differences = [
            f"{words.get(key, key)} {state[key]} -> {now}" for key, now in mine.items() if state.get(key, now) != now
        ]
        if differences:
            raise UserError(
                f"the checkpoint cannot be resumed exactly in the middle of an epoch, because these differ "
                f"(checkpoint -> now): {', '.join(differences)}"
            )
