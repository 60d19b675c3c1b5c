"""``--data.batch_size auto``: the largest batch that fits into memory, found before a training run is built."""

from __future__ import annotations

import gc
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from lit_cnn.checkpoint.record import Record
from lit_cnn.data import Batch, ImageDataModule
from lit_cnn.errors import UserError
from lit_cnn.tuner import trial
from lit_cnn.tuner.auto import AUTO, settled
from lit_cnn.tuner.trial import Enough, without_trace
from lit_cnn.utils import memory

MOST = 1024  # beyond it, larger batches are hardly faster
LEAST = 2  # batch normalisation needs two
SHARE = 8  # an epoch has at least so many steps
CPU_MARGIN = 0.8  # share of the free memory to plan with: the estimate is linear, other programs come and go
GPU_MARGIN = 0.95  # of a GPU's memory: what a run needs varies a little from step to step
GROWTH = 32 * 2**20  # bytes; less between two batch sizes says nothing


def settle(config: Namespace, record: Record | None) -> None:
    """Put a number in the place of ``data.batch_size: auto``, and say which.

    Raises:
        UserError: where nothing can be searched, or no batch fits.
    """
    settings = config.data.init_args
    if settings.get("batch_size") == AUTO:
        settings.batch_size = int(
            settled("data.batch_size", config.trainer, record, _stored, lambda: without_trace(lambda: _search(config)))
        )


def _stored(record: Record) -> int:
    stored = record.config["data"]["init_args"].get("batch_size")
    if not isinstance(stored, int):
        raise UserError(f"{record.path} names no batch size: give --batch-size a number instead of auto")
    return stored


def _search(config: Namespace) -> tuple[int, str]:
    """The number, and why it is that one."""
    device, processes = trial.layout("data.batch_size", config.trainer)
    if device.type == "cpu" and memory.resource is None:
        raise UserError("--data.batch_size auto cannot measure memory on this system: give a number")
    data = trial.data(config)
    data.batch_size = LEAST
    images = len(data.train_dataloader().indices)
    most = max(LEAST, _power_of_two(min(MOST, images // processes // SHARE)))
    growth = CPUGrowth(most, processes) if device.type == "cpu" else GPUGrowth(most, processes, device)
    number = _try(trial.trainer(config.trainer, device, callbacks=[growth], max_epochs=1), config, data, growth)
    if number < most:
        return number, f"largest power of two that fits {growth.limit}; the learning rate stays as it is"
    if most == MOST:
        return number, f"the most that auto takes; it fits {growth.limit}; the learning rate stays as it is"
    part = f"an eighth of the {images:,} training images" + (f" for each of {processes} processes" * (processes > 1))
    return number, f"largest power of two up to {part}; it fits {growth.limit}; the learning rate stays as it is"


def _try(trainer: Trainer, config: Namespace, data: ImageDataModule, growth: Growth) -> int:
    """Train on growing batches until enough is known."""
    # fresh weights that nothing will move far, for they learn from noise
    model = trial.model(config, data, lr=1e-12, weights=None)
    model.resumes = True  # weights made from the data or a file need no memory of their own
    try:
        trial.fit(trainer, model, Growing(data, growth.sizes))
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        growth.failed()
    if growth.number < LEAST:
        raise UserError(
            f"not even a batch of {LEAST} images fits {growth.limit}: try --amp, a smaller --img-size or another "
            "--model.backbone"
        )
    return growth.number


class Growth(Callback, ABC):
    """Watch training steps on growing batches.

    Args:
        most: largest batch size to try.
        processes: how many the run has.

    Attributes:
        sizes: batch sizes in order; the first one twice, since optimizers take their memory in the first step.
        number: largest batch size known to fit, 0 before.
        limit: into what, in words.
    """

    def __init__(self, most: int, processes: int) -> None:
        self.sizes = [LEAST] + [2**power for power in range(1, most.bit_length())]
        self.most, self.processes, self.number, self.limit = most, processes, 0, ""
        self._steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Several processes keep a second copy of the gradients, to exchange them."""
        if self.processes > 1:
            self._buckets = [torch.zeros_like(p) for p in pl_module.parameters() if p.requires_grad]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Judge the size just tried.

        Raises:
            Enough: when no other needs to be tried.
        """
        self._steps += 1
        size = len(batch.target)
        if self._steps > 1 and (not self.goes_on(size) or size == self.most):
            raise Enough

    @abstractmethod
    def goes_on(self, size: int) -> bool:
        """Note what a step on ``size`` images took; whether the next size may be tried."""

    def failed(self) -> None:
        """A step ran out of memory."""


class GPUGrowth(Growth):
    """Where running out of memory is an error like others: try until it happens."""

    def __init__(self, most: int, processes: int, device: torch.device) -> None:
        super().__init__(most, processes)
        self.device = device
        self.limit = f"on {device}"

    def goes_on(self, size: int) -> bool:
        """Take ``size``, unless it left hardly anything free."""
        if self.device.type == "cuda":
            total = torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)
            if torch.cuda.max_memory_allocated(self.device) > GPU_MARGIN * total:
                self.failed()
                return False
        self.number = size
        return True

    def failed(self) -> None:
        """The size after the last good one is too large."""
        self.limit = f"on {self.device}, {2 * self.number or LEAST} is too large"


class CPUGrowth(Growth):
    """Where running out of memory ends the process, or slows the machine to a crawl: measure small batches, compute.

    Memory taken grows by a fixed amount per image once the batch is more than a few. Peaks only ever rise, so two
    rises in a row mean that both came from the last batches and not from something before.
    """

    def __init__(self, most: int, processes: int) -> None:
        super().__init__(most, processes)
        self.peaks: list[tuple[int, int]] = []  # batch size, bytes above the start

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on the batches alone count: model and data are there."""
        gc.collect()
        memory.forget_peak()
        self.before = memory.used()
        self.budget = int(memory.available() / self.processes * CPU_MARGIN)
        self.limit = f"in {memory.shown(self.budget)}, {CPU_MARGIN:.0%} of the free memory"
        if self.processes > 1:
            self.limit += f" shared by {self.processes} processes"
        super().on_train_start(trainer, pl_module)

    def goes_on(self, size: int) -> bool:
        """Measure; go on while the rise per image is not clear yet and the next size is safe to try."""
        if not self.peaks:  # gradients and the optimizer's state are there by now
            self.fixed = memory.used() - self.before
        self.peaks.append((size, memory.peak() - self.before))
        self.number, clear = largest(self.peaks, self.fixed, self.budget, self.most)
        return not clear


def largest(peaks: Sequence[tuple[int, int]], fixed: int, budget: int, most: int) -> tuple[int, bool]:
    """The largest batch size that fits by what smaller ones took.

    Args:
        peaks: batch sizes, each twice the one before, and the bytes each took at its peak.
        fixed: bytes taken whatever the size.
        budget: bytes there are.
        most: largest size to consider.

    Returns:
        The size (0: none fits), and whether no other has to be tried.
    """
    size, taken = peaks[-1]
    if taken > budget:
        return next((s for s, bytes_ in reversed(peaks) if bytes_ <= budget), 0), True
    rises = [(b[1] - a[1], b[0] - a[0]) for a, b in itertools.pairwise(peaks)]
    if len(rises) < 2 or min(rises[-1][0], rises[-2][0]) < GROWTH:
        # twice the images take at most twice the memory that is not fixed
        return size, fixed + 2 * (taken - fixed) + GROWTH > budget
    per_image = max(rise / images for rise, images in rises[-2:])
    while 2 * size <= most and taken + per_image * size <= budget:
        taken, size = taken + int(per_image * size), 2 * size
    return size, True


class Growing(LightningDataModule):
    """Random images in batches of given sizes, made ready by a data set's own steps.

    Args:
        data: the data set, set up.
        sizes: batch sizes in order.
    """

    def __init__(self, data: ImageDataModule, sizes: Sequence[int]) -> None:
        super().__init__()
        self.data, self.sizes = data, sizes

    def setup(self, stage: str) -> None:
        """Let the data set know who trains."""
        self.data.trainer = self.trainer

    def train_dataloader(self) -> Growing:
        """The batches: this object itself."""
        return self

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Batch]:
        shape, classes = self.data.train_dataloader().source.shape, self.data.num_classes
        for size in self.sizes:
            image = torch.randint(0, 256, (size, *shape), dtype=torch.uint8)
            yield Batch(image, torch.randint(0, classes, (size,)), torch.arange(size))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise and augment as in training."""
        return self.data.on_after_batch_transfer(batch, dataloader_idx)


def _power_of_two(most: int) -> int:
    return 2 ** (most.bit_length() - 1) if most > 0 else 0
