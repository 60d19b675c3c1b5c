"""Shared by the speed benchmarks: images made up here, bare training loops to compare with, medians and a table."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.data import FashionMNIST
from lit_cnn.optim.muon import Muon


def images(count: int) -> tuple[Tensor, Tensor]:
    """Random images of Fashion-MNIST's kind: uint8 (count, 1, 28, 28), and their targets int64 (count,)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator), torch.arange(count) % 10


CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}


@contextlib.contextmanager
def made_up(count: int) -> Iterator[None]:
    """Let ``--data FashionMNIST`` read ``count`` random training images instead of files: speed depends on no pixel."""
    with mock.patch.object(FashionMNIST, "read", return_value=images(count)):
        yield


class Bare:
    """The loop that a person would write: one network, one optimizer, one batch after another.

    Args:
        network: in training mode.
        channels_last: memory format of weights and images.
        bf16: forward under autocast.
        optimizer: sgd, or muon as in configs/speedrun_cifar.yaml.
        device: where to train.
    """

    def __init__(
        self,
        network: nn.Module,
        channels_last: bool = False,
        bf16: bool = False,
        optimizer: str = "sgd",
        device: str = "cpu",
    ) -> None:
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.network, self.bf16 = network.train().to(device, memory_format=self.format), bf16
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer: torch.optim.Optimizer
        if optimizer == "muon":
            self.optimizer = Muon(trained, lr=0.01, steps=3)
        else:
            self.optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.9, nesterov=True)

    def __call__(self, image: Tensor, target: Tensor) -> None:
        """One step on images float (N, C, H, W)."""
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            loss = F.cross_entropy(self.network(image.contiguous(memory_format=self.format)).float(), target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def timed(function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that a call takes."""
    start = clock()
    function()
    return clock() - start


def table(seconds: Mapping[str, Sequence[float]], images_a_row: int, ours: str, reference: str) -> dict[str, Any]:
    """Print median seconds and speed of everything that took turns; return them and ours against the reference.

    The ratio is the median over the rounds: what ran side by side is compared with each other.
    """
    print(f"\ntorch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    print(f"{'':38} {'seconds':>9} {'img/s':>9} {'time against ' + reference:>20}")
    ratios = {
        n: statistics.median(a / b for a, b in zip(v, seconds[reference], strict=True)) for n, v in seconds.items()
    }
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:38} {median:9.3f} {images_a_row / median:9,.0f} {ratios[name]:20.2f}")
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "seconds": {name: list(values) for name, values in seconds.items()},
        "images": images_a_row,
        "ratio": ratios[ours],
        "ratios": ratios,
    }


def write(path: Path | None, record: Mapping[str, Any]) -> None:
    """Write the record as JSON, if a path was given."""
    if path is not None:
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
