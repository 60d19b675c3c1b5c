"""Batch-size finder (``data.batch_size: auto``): the largest batch that fits, found before a training run is built."""

from __future__ import annotations

import gc
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.data import Batch, ImageDataModule
from lit_cnn.errors import UserError
from lit_cnn.tasks.base import BaseTask
from lit_cnn.tuner import trial
from lit_cnn.tuner.auto import AUTO, resolve_auto
from lit_cnn.tuner.trial import StopTrial
from lit_cnn.utils import memory
from lit_cnn.utils.oom import is_out_of_memory

MAX_BATCH_SIZE = 1024  # larger batches are hardly faster
MIN_BATCH_SIZE = 2  # batch normalization needs two
MIN_STEPS = 8  # of an epoch
CPU_MARGIN = 0.8  # share of the free memory to use: the estimate is linear, other programs come and go
GPU_MARGIN = 0.95  # of a GPU's memory: what a run needs varies a little from step to step
COLLECTIVES = 2**30  # bytes that NCCL takes for its buffers beside torch's, with several ranks
NOISE = 32 * 2**20  # bytes; a smaller difference between two batch sizes is not significant


def resolve(config: Namespace, record: CheckpointRecord | None) -> None:
    """Replace ``data.batch_size: auto`` by a number, and print it with the reason.

    Raises:
        UserError: the search is not supported here, or no batch fits.
    """
    settings = config.data.init_args
    if settings.get("batch_size") == AUTO:
        settings.batch_size = int(
            resolve_auto(
                "data.batch_size",
                config.trainer,
                record,
                _stored,
                lambda: trial.isolated_trial(lambda: _search(config)),
            )
        )


def _stored(record: CheckpointRecord) -> int:
    stored = record.config["data"]["init_args"].get("batch_size")
    if not isinstance(stored, int):
        raise UserError(f"{record.path} has no batch size: give `data.batch_size` a number instead of auto")
    return stored


def _search(config: Namespace) -> tuple[int, str]:
    """The batch size, and the reason for it."""
    device, world_size = trial.device_and_world_size("data.batch_size", config.trainer)
    if device.type == "cpu" and not memory.MEASURABLE:
        raise UserError("`data.batch_size=auto` cannot measure memory on this system: give a number")
    data = trial.build_data(config)
    data.batch_size = MIN_BATCH_SIZE
    images = len(data.train_dataloader().indices)
    largest = max(MIN_BATCH_SIZE, _power_of_two(min(MAX_BATCH_SIZE, images // world_size // MIN_STEPS)))
    probe = CPUMemoryProbe(largest, world_size) if device.type == "cpu" else GPUMemoryProbe(largest, world_size, device)
    size = _try(trial.build_trainer(config.trainer, device, callbacks=[probe], max_epochs=1), config, data, probe)
    if size < largest:
        return size, f"largest power of two that fits {probe.limit}; the learning rate is not changed"
    if largest == MAX_BATCH_SIZE:
        return size, f"the largest that auto tries; it fits {probe.limit}; the learning rate is not changed"
    part = f"an eighth of the {images:,} training images" + (f" for each of {world_size} processes" * (world_size > 1))
    return size, f"largest power of two up to {part}; it fits {probe.limit}; the learning rate is not changed"


def _try(trainer: Trainer, config: Namespace, data: ImageDataModule, probe: MemoryProbe) -> int:
    """Train on growing batches until the probe stops the trial; returns the largest size that fits."""
    # a learning rate that leaves the weights where they are, as the batches are noise
    model = trial.build_model(config, data, lr=1e-12, weights=None)
    model.resumes = True  # weights from the data or a file take no further memory
    try:
        trial.fit(trainer, model, GrowingBatches(data, probe.sizes))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        probe.out_of_memory()
    if probe.fits < MIN_BATCH_SIZE:
        raise UserError(
            f"not even a batch of {MIN_BATCH_SIZE} images fits {probe.limit}: try `trainer.precision=bf16-mixed`, a "
            "smaller `data.image_size` or another `model.backbone`"
        )
    return probe.fits


class MemoryProbe(Callback, ABC):
    """Measure the memory of training steps on growing batches.

    Args:
        largest: largest batch size to try.
        world_size: number of ranks of the run.

    Attributes:
        sizes: batch sizes in order; the first one twice, since optimizers allocate their state in the first step.
        fits: largest batch size known to fit, 0 before the first.
        limit: the memory that it has to fit into, for messages.
    """

    def __init__(self, largest: int, world_size: int) -> None:
        self.sizes = [MIN_BATCH_SIZE] + [2**power for power in range(1, largest.bit_length())]
        self.largest, self.world_size, self.fits, self.limit = largest, world_size, 0, ""
        self._steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Allocate a second copy of the gradients where the run has several ranks, as ddp's buckets do."""
        if self.world_size > 1:
            self._buckets = [torch.zeros_like(p) for p in pl_module.parameters() if p.requires_grad]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Measure the size just tried.

        Raises:
            StopTrial: no other size has to be tried.
        """
        self._steps += 1
        size = len(batch.target)
        if self._steps > 1:
            self.evaluate(trainer, pl_module, size)
            if not self.try_next(size) or size == self.largest:
                raise StopTrial

    def evaluate(self, trainer: Trainer, pl_module: LightningModule, size: int) -> None:
        """Called before the memory is measured, to evaluate a batch where that is safe to try."""

    @abstractmethod
    def try_next(self, size: int) -> bool:
        """Record the memory of a step on ``size`` images; returns whether to try the next size."""

    def out_of_memory(self) -> None:
        """Called when a step ran out of memory."""


class GPUMemoryProbe(MemoryProbe):
    """For devices where running out of memory raises an error: try until it does."""

    def __init__(self, largest: int, world_size: int, device: torch.device) -> None:
        super().__init__(largest, world_size)
        self.device = device
        self.limit = f"on {device}"

    @torch.no_grad()
    def evaluate(self, trainer: Trainer, pl_module: LightningModule, size: int) -> None:
        """Evaluate one batch as the run would: evaluation batches may be larger than those of training."""
        assert isinstance(pl_module, BaseTask)
        growing = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it when fit starts
        pl_module.eval()
        trainer.validating = True  # no augmentation
        batch = growing.evaluation_batch(size, pl_module.device)
        with trainer.precision_plugin.val_step_context():
            pl_module.evaluate_batch(batch, "val")
        trainer.training = True
        pl_module.train()

    def try_next(self, size: int) -> bool:
        """Accept ``size`` unless it leaves hardly any memory free."""
        if self.device.type == "cuda":
            total = torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)
            taken = torch.cuda.max_memory_allocated(self.device) + COLLECTIVES * (self.world_size > 1)
            if taken > GPU_MARGIN * total:
                self.out_of_memory()
                return False
        self.fits = size
        return True

    def out_of_memory(self) -> None:
        """The size after the last that fits is too large."""
        self.limit = f"on {self.device}, {2 * self.fits or MIN_BATCH_SIZE} is too large"


class CPUMemoryProbe(MemoryProbe):
    """For the CPU, where running out of memory kills the process: extrapolate from small batches.

    Memory grows by a fixed amount per image once a batch has more than a few. Peaks never fall, so two rises in a row
    show that both came from the last batches and not from something before.
    """

    def __init__(self, largest: int, world_size: int) -> None:
        super().__init__(largest, world_size)
        self.peaks: list[tuple[int, int]] = []  # batch size, peak bytes above the start

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the baseline, with model and data allocated, and the memory there is for batches."""
        gc.collect()
        memory.reset_peak()
        self.before = memory.used()
        self.budget = int(memory.available() / self.world_size * CPU_MARGIN)
        self.limit = f"in {memory.format_bytes(self.budget)}, {CPU_MARGIN:.0%} of the free memory"
        if self.world_size > 1:
            self.limit += f" shared by {self.world_size} processes"
        super().on_train_start(trainer, pl_module)

    def try_next(self, size: int) -> bool:
        """Try the next size while the memory per image is not clear yet and the next size is safe."""
        if not self.peaks:  # with gradients and optimizer state
            self.fixed = memory.used() - self.before
        self.peaks.append((size, memory.peak() - self.before))
        self.fits, clear = largest_fitting(self.peaks, self.fixed, self.budget, self.largest)
        return not clear


def largest_fitting(peaks: Sequence[tuple[int, int]], fixed: int, budget: int, most: int) -> tuple[int, bool]:
    """Largest batch size that fits, extrapolated from the memory of smaller ones.

    Args:
        peaks: batch sizes, each twice the one before, with their peak memory in bytes.
        fixed: bytes that do not depend on the size.
        budget: bytes available.
        most: largest size to consider.

    Returns:
        The size (0: none fits), and whether the search is done.
    """
    size, taken = peaks[-1]
    if taken > budget:
        return next((s for s, bytes_ in reversed(peaks) if bytes_ <= budget), 0), True
    rises = [(b[1] - a[1], b[0] - a[0]) for a, b in itertools.pairwise(peaks)]
    if len(rises) < 2 or min(rises[-1][0], rises[-2][0]) < NOISE:
        # twice the images need at most twice the memory that is not fixed
        return size, fixed + 2 * (taken - fixed) + NOISE > budget
    per_image = max(rise / images for rise, images in rises[-2:])
    while 2 * size <= most and taken + per_image * size <= budget:
        taken, size = taken + int(per_image * size), 2 * size
    return size, True


class GrowingBatches(LightningDataModule):
    """Random images in batches of given sizes, normalized and augmented as the run's own.

    Args:
        data: the run's data module, set up.
        sizes: batch sizes in order.
    """

    def __init__(self, data: ImageDataModule, sizes: Sequence[int]) -> None:
        super().__init__()
        self.data, self.sizes = data, sizes

    def setup(self, stage: str) -> None:
        """Attach the trainer to the data module."""
        self.data.trainer = self.trainer

    def train_dataloader(self) -> GrowingBatches:
        """The batches: this object itself."""
        return self

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Batch]:
        for size in self.sizes:
            yield self._batch(size)

    def _batch(self, size: int) -> Batch:
        shape = self.data.train_dataloader().source.shape
        image = torch.randint(0, 256, (size, *shape), dtype=torch.uint8)
        target = torch.randint(0, max(1, self.data.num_classes), (size,))
        return Batch(image, target, torch.arange(size))

    def evaluation_batch(self, size: int, device: torch.device) -> Batch:
        """A batch on ``device`` as the run evaluates them where it trains on ``size`` images, ready for the model."""
        before, self.data.batch_size = self.data.batch_size, size
        batch = self._batch(self.data.val_dataloader().batch_size)
        self.data.batch_size = before
        return self.data.on_after_batch_transfer(Batch(*(part.to(device) for part in batch)), 0)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise and augment as in training."""
        return self.data.on_after_batch_transfer(batch, dataloader_idx)


def _power_of_two(most: int) -> int:
    return 2 ** (most.bit_length() - 1) if most > 0 else 0
