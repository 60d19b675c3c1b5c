"""Profile of a training step, by operation: ``python -m benchmarks.shares``.

torch's profiler over steps in the middle of ``lit-cnn fit``; an operation's share excludes what it calls. Python's
own time in a step is counted as ``Optimizer.step``, from which Lightning calls the rest.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch.profiler import ProfilerActivity, profile

from benchmarks.turns import made_up, write
from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command

WORDS = {
    "resnet18": ["--data.channels=3", "--img-size=32", "--model.backbone_args.stem=cifar", "--precision=bf16-mixed"],
    "lenet_maxpool": [],
}


class Profiled(Callback):
    """Profile ``steps`` steps, after as many to warm up."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.profiler = profile(activities=[ProfilerActivity.CPU])

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        """Begin, or end."""
        if batch_idx == self.steps:
            self.profiler.start()
        elif batch_idx == 2 * self.steps:
            self.profiler.stop()


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=WORDS, default="resnet18", help="which network (resnet18)")
    parser.add_argument("--batch-size", type=int, default=128, help="images a step (128)")
    parser.add_argument("--steps", type=int, default=4, help="how many are measured (4)")
    parser.add_argument("--rows", type=int, default=12, help="operations to show (12)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the shares to this file as well")
    given = parser.parse_args(args)
    measured, batches = Profiled(given.steps), 2 * given.steps + 1
    with tempfile.TemporaryDirectory() as folder, made_up(2 * batches * given.batch_size):
        words = [
            "fit", "--data=FashionMNIST", f"--model.backbone={given.backbone}", *WORDS[given.backbone], "--lr=0.01",
            f"--batch-size={given.batch_size}", f"--trainer.max_steps={batches}", "--trainer.limit_val_batches=1",
            "--trainer.enable_progress_bar=false", "--device=cpu", f"--trainer.default_root_dir={folder}",
        ]  # fmt: skip
        run_command(parse(words), callbacks=[measured])
    found = sorted(measured.profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in found)
    shares = {event.key: event.self_cpu_time_total / total for event in found[: given.rows]}
    print(f"\n{given.backbone}, batch {given.batch_size}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, share in shares.items():
        print(f"{share:7.1%} {name}")
    write(given.json, {"backbone": given.backbone, "batch_size": given.batch_size, "shares": shares})


if __name__ == "__main__":
    main()
