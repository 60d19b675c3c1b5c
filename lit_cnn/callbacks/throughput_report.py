"""Throughput report after the first steps of a fit: images/s, time to go, peak memory, time spent waiting for data."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.utils import memory
from lit_cnn.utils.console import say
from lit_cnn.utils.cpu import num_cores
from lit_cnn.utils.datamodule import datamodule
from lit_cnn.utils.throughput import Meter, clock, speed, time_left

WARM_UP = 3  # steps that choose kernels, fill caches and start threads
WAITING = 0.1  # share of the time from which feeding faster pays


class ThroughputReport(Callback):
    """After the first steps of a fit, print one line.

        first 20 steps: 1,234 img/s, about 12:30 to go, peak memory 1.2 GiB, waiting for data 38%: raise data.workers …

    Args:
        steps: batches to measure, after a few to warm up; those of an epoch or of the run, if it has fewer. Validation
            and what happens between epochs are not counted.
    """

    def __init__(self, steps: int = 20) -> None:
        self._steps = steps
        self._seen = 0  # batches
        self._waited = 0.0  # the loader's seconds when measuring began
        self._meter = Meter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start measuring."""
        self._seen, self._meter = 0, Meter()
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step; report after the last one."""
        self._seen += 1
        if not WARM_UP <= self._seen <= WARM_UP + self._steps:
            return
        left = trainer.num_training_batches - batch_idx - 1
        last = self._seen == WARM_UP + self._steps or left == 0
        device = trainer.strategy.root_device
        if device.type != "cpu" and (last or self._seen == WARM_UP):
            torch.accelerator.synchronize(device)  # else the time to launch kernels would be measured
        now = time.perf_counter()
        if self._seen == WARM_UP:
            self._waited = _waited(trainer)
            self._meter.resume(now)
            return
        self._meter.step(len(batch.target) * trainer.world_size, now)
        if last:
            self._report(trainer, left)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not count the time between two epochs."""
        self._meter.resume(time.perf_counter())

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not count validation."""
        self._meter.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue measuring."""
        self._meter.resume(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report on a run of fewer steps."""
        if self._meter.batches and self._seen <= WARM_UP + self._steps:
            self._report(trainer, None)

    def _report(self, trainer: Trainer, left: float | None) -> None:
        """Write the line; ``left``: batches to come in this epoch, None at the end of the run."""
        self._seen = WARM_UP + self._steps + 1  # once
        if not trainer.is_global_zero:
            return
        meter = self._meter
        parts = [speed(meter.images / meter.seconds)]
        if left is not None:
            _, to_go = time_left(trainer, meter, left, _validated(trainer) * meter.seconds / meter.images)
            parts += [f"about {clock(to_go)} to go"] if to_go is not None else []
        parts.append(_peak(trainer.strategy.root_device))
        share = (_waited(trainer) - self._waited) / meter.seconds
        parts.append(f"waiting for data {share:.0%}{_advice(trainer) if share >= WAITING else ''}")
        print_above = trainer.progress_bar_callback.print if trainer.progress_bar_callback else say
        what = "step" if meter.batches == 1 else f"{meter.batches} steps"
        print_above(f"first {what}: {', '.join(parts)}")


def _validated(trainer: Trainer) -> float:
    """Images validated in an epoch, on the average, in units of trained ones: a third, as there is no backward pass."""
    loader: Any = trainer.val_dataloaders
    batches = sum(trainer.num_val_batches)
    if not batches or not hasattr(loader, "indices"):
        return 0.0
    images = min(len(loader.indices), batches * loader.batch_size * trainer.world_size)
    between = float(trainer.val_check_batch or math.inf)  # training batches
    times = trainer.num_training_batches / between if math.isfinite(between) else 1.0
    return images / 3 * times / (trainer.check_val_every_n_epoch or 1)


def _waited(trainer: Trainer) -> float:
    return float(getattr(trainer.train_dataloader, "waited", 0.0))


def _peak(device: torch.device) -> str:
    if device.type == "cuda":
        return f"peak GPU memory {memory.format_bytes(torch.cuda.max_memory_allocated(device))}"
    return f"peak memory {memory.format_bytes(memory.peak())}"


def _advice(trainer: Trainer) -> str:
    """Settings that would feed the run faster, if there are any."""
    data = datamodule(trainer)
    loader: Any = trainer.train_dataloader
    spare = 0 < loader.workers < num_cores(trainer.num_devices)
    remedies = [f"raise `data.workers` (now {loader.workers})"] if spare else []
    if getattr(data, "cache", None) == "none":  # only sets of image files have a cache
        remedies.append("set `data.cache=disk`")
    return f": {' or '.join(remedies)}" if remedies else ""
