"""What the ranks of a run exchange during training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command
from tests.conftest import LENET
from tests.distributed.pair import run_pair


class Messages(Callback):
    """Count the collectives of each kind from the start of one batch to the start of another."""

    def __init__(self, first: int, end: int) -> None:
        self.first, self.end = first, end
        self.counts: dict[str, int] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.first:
            self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
            self._profiler.start()
        elif batch_idx == self.end:
            self._profiler.stop()
            self.counts = {e.key: e.count for e in self._profiler.key_averages() if e.key.startswith("c10d::")}


def train(strategy: str, accumulate: int) -> dict[str, int]:
    messages = Messages(8, 16)  # after the first step, ddp once broadcasts the order of the gradients
    words = [
        "fit", *LENET, "--batch-size=16", "--trainer.max_steps=8", f"--trainer.strategy={strategy}",
        "--trainer.accelerator=cpu", "--trainer.devices=2", f"--trainer.accumulate_grad_batches={accumulate}",
        "--trainer.limit_val_batches=1",
    ]  # fmt: skip
    run_command(parse(words), callbacks=[messages])
    return messages.counts


@pytest.mark.slow
def test_accumulated_batches_reduce_gradients_and_flags_once_per_step(tmp_path: Path) -> None:
    # 8 batches are 2 steps, each with the gradients (in one bucket) and whether to stop
    assert run_pair(train, tmp_path, "ddp", 4) == 2 * [{"c10d::allreduce_": 4}]
