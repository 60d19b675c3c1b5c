"""``--data.batch_size auto``: the largest batch that fits into memory, found before a training run is built."""

from __future__ import annotations

import gc
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.seed import isolate_rng

from lit_cnn import memory, start
from lit_cnn.agreement import AUTO, agree
from lit_cnn.checkpoint import Record
from lit_cnn.data import Batch, ImageDataModule
from lit_cnn.errors import UserError
from lit_cnn.task import ImageClassifier

MOST = 1024  # beyond it, larger batches are hardly faster
LEAST = 2  # batch normalisation needs two
SHARE = 8  # an epoch has at least so many steps
CPU_MARGIN = 0.8  # share of the free memory to plan with: the estimate is linear, other programs come and go
GPU_MARGIN = 0.95  # of a GPU's memory: what a run needs varies a little from step to step
GROWTH = 32 * 2**20  # bytes; less between two batch sizes says nothing


def settle(config: Namespace, command: str, record: Record | None) -> None:
    """Put a number in the place of ``data.batch_size: auto``, and say which.

    With a checkpoint it is that of the checkpoint's run: a resumed run repeats it, and an evaluation needs no search.

    Raises:
        UserError: where nothing can be searched, or no batch fits.
    """
    settings = config.data.init_args
    if settings.get("batch_size") != AUTO:
        return
    if record is not None:
        stored = record.config["data"]["init_args"].get("batch_size")
        if not isinstance(stored, int):
            raise UserError(f"{record.path} names no batch size: give --batch-size a number instead of auto")
        settings.batch_size, why = stored, f"that of {record.path}; auto searches for new training runs only"
    else:
        number, why = agree("data.batch_size", config.trainer, lambda: _search(config))
        settings.batch_size = int(number)
    if start.is_first_process():
        print(f"batch size auto: {settings.batch_size} ({why})")


def _search(config: Namespace) -> tuple[int, str]:
    """The number, and why it is that one."""
    options, strategy = config.trainer, config.trainer.strategy
    if not isinstance(strategy, str) or not strategy.startswith(("auto", "ddp", "single_device")):
        raise UserError("--data.batch_size auto works with one device and with ddp only: give a number")
    with isolate_rng():
        # a trainer like the run's, only to learn which devices it takes
        layout = _trainer(options, devices=options.devices, strategy=strategy)
        device, processes = layout.strategy.root_device, layout.world_size
        if device.type == "cpu" and memory.resource is None:
            raise UserError("--data.batch_size auto cannot measure memory on this system: give a number")
        data = _data(config)
        data.setup("fit")
        data.batch_size = LEAST
        images = len(data.train_dataloader().rows)
        most = max(LEAST, _power_of_two(min(MOST, images // processes // SHARE)))
        trial = CPUTrial(most, processes) if device.type == "cpu" else GPUTrial(most, processes, device)
        trainer = _trainer(options, devices=1 if device.index is None else [device.index], callbacks=[trial])
        try:
            number = _try(trainer, _model(config, data), Growing(data, trial.sizes), trial)
        finally:
            del trainer
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    if number < most:
        return number, f"largest power of two that fits {trial.limit}; the learning rate stays as it is"
    if most == MOST:
        return number, f"the most that auto takes; it fits {trial.limit}; the learning rate stays as it is"
    part = f"an eighth of the {images:,} training images" + (f" for each of {processes} processes" * (processes > 1))
    return number, f"largest power of two up to {part}; it fits {trial.limit}; the learning rate stays as it is"


def _trainer(options: Namespace, **kwargs: Any) -> Trainer:
    """A trainer on the run's kind of device, at its precision, that keeps nothing."""
    same = ("accelerator", "precision", "deterministic", "benchmark", "gradient_clip_val", "gradient_clip_algorithm")
    return Trainer(
        **{name: getattr(options, name) for name in same},
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        max_epochs=1,
        **kwargs,
    )


def _data(config: Namespace) -> ImageDataModule:
    """The run's data set, built once more."""
    parser = ArgumentParser()
    parser.add_subclass_arguments(ImageDataModule, "data")
    data: ImageDataModule = parser.instantiate(Namespace(data=config.data.clone())).data
    return data


def _model(config: Namespace, data: ImageDataModule) -> ImageClassifier:
    """A model like the run's, with fresh weights that nothing will move far, for they learn from noise."""
    settings = {**config.model.as_dict(), "lr": 1e-12, "lr_min": 0.0, "weights": None, "compile": False}
    model = ImageClassifier(**{**settings, "num_classes": data.num_classes, "in_channels": data.in_channels})
    model.resumes = True  # weights made from the data or a file need no memory of their own
    return model


def _try(trainer: Trainer, model: ImageClassifier, data: Growing, trial: Trial) -> int:
    """Train on growing batches until the trial has seen enough."""
    try:
        trainer.fit(model, datamodule=data)
    except Enough:
        pass
    except SystemExit as error:  # Lightning's way to end on Ctrl-C
        if trainer.state.status is TrainerStatus.INTERRUPTED:
            raise KeyboardInterrupt from error
        raise
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        trial.failed()
    if trial.number < LEAST:
        raise UserError(
            f"not even a batch of {LEAST} images fits {trial.limit}: try --amp, a smaller --img-size or another "
            "--model.backbone"
        )
    return trial.number


class Enough(Exception):  # noqa: N818  # no error: it ends the trial
    """The trial knows the number."""


class Trial(Callback, ABC):
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


class GPUTrial(Trial):
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


class CPUTrial(Trial):
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
