"""A training step of a large network, in bare loops and in ``lit-cnn fit``: ``python -m benchmarks.step``.

The bare loops train the same network on one batch that is there already: in float32 and the default memory format, in
channels_last, in bfloat16 and in both. lit-cnn, at its own channels_last and bf16-mixed, is timed from one step's start
to the next, with feeding, augmentation, metrics and checks. ``--backbone speednet --batch-size 1940 --optimizer muon``
is the step of configs/speedrun_cifar.yaml; as every step of a run takes the same time, its ratio is that of full runs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from benchmarks.turns import CLOCKS, Bare, made_up, table, timed, write
from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command
from lit_cnn.models import get_model

OURS, REFERENCE = "lit-cnn fit", "bare, both"
LOOPS = {
    "bare, float32 NCHW": {},
    "bare, channels_last": {"channels_last": True},
    "bare, bf16": {"bf16": True},
    REFERENCE: {"channels_last": True, "bf16": True},
}


class Turns(Callback):
    """Let others have a turn between ``steps`` steps of a run and the next, with the run's clock stopped.

    The first turn of each warms up and is not kept.
    """

    def __init__(self, others: Mapping[str, Callable[[], None]], steps: int, clock: Callable[[], float]) -> None:
        self.others, self.steps, self.clock = others, steps, clock
        self.seconds: dict[str, list[float]] = {name: [] for name in (*others, OURS)}
        self._start = 0.0

    def on_train_start(self, *args: Any) -> None:
        """Others warm up."""
        for other in self.others.values():
            other()
        self._start = self.clock()

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        """Between two steps: lit-cnn's last turn is over, everyone has one, lit-cnn's next begins."""
        if batch_idx == 0 or batch_idx % self.steps:
            return
        own = self.clock() - self._start
        if batch_idx > self.steps:
            self.seconds[OURS].append(own / self.steps)
            for name, other in self.others.items():
                self.seconds[name].append(
                    timed(lambda other=other: [other() for _ in range(self.steps)], self.clock) / self.steps
                )
        self._start = self.clock()


def measure(given: argparse.Namespace, extra: Sequence[str]) -> dict[str, list[float]]:
    """Seconds of a step for each loop, turn by turn."""
    arguments = {"stem": "cifar"} if given.backbone.startswith("resnet") else {}
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(given.batch_size, 3, given.image_size, given.image_size, generator=generator)
    target = torch.arange(given.batch_size) % 10
    others = {}
    for name, settings in LOOPS.items():
        if given.both_only and name != REFERENCE:
            continue
        network = get_model(given.backbone, num_classes=10, in_channels=3, **arguments)
        loop = Bare(network, **settings, optimizer=given.optimizer)
        others[name] = lambda loop=loop: loop(image, target)
    turns = Turns(others, given.steps, CLOCKS[given.clock])
    batches = given.steps * (given.turns + 2)
    with tempfile.TemporaryDirectory() as folder, made_up(2 * batches * given.batch_size):
        words = [
            "fit", "--data=FashionMNIST", "--data.channels=3", f"--img-size={given.image_size}",
            "--data.augment.crop_padding=4", "--data.augment.flip=0.5", "--data.val_fraction=0.1",
            f"--batch-size={given.batch_size}", f"--model.backbone={given.backbone}", "--lr=0.01",
            f"--model.optimizer={given.optimizer}",
            *(f"--model.backbone_args.{k}={v}" for k, v in arguments.items()), "--precision=bf16-mixed", "--device=cpu",
            "--epochs=1", f"--trainer.limit_train_batches={batches}", "--trainer.limit_val_batches=1",
            f"--trainer.default_root_dir={folder}", *extra,
        ]  # fmt: skip
        run_command(parse(words), callbacks=[turns])
    return turns.seconds


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18", help="which network (resnet18, with the CIFAR stem)")
    parser.add_argument("--batch-size", type=int, default=128, help="images a step (128)")
    parser.add_argument("--image-size", type=int, default=32, help="their side in pixels (32)")
    parser.add_argument("--optimizer", choices=("sgd", "muon"), default="sgd", help="of all loops (sgd)")
    parser.add_argument("--turns", type=int, default=5, help="how often each takes its turn (5)")
    parser.add_argument("--steps", type=int, default=1, help="steps of a turn (1)")
    parser.add_argument("--both-only", action="store_true", help="only the fastest of the bare loops")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="what counts as time; cpu: this thread's (wall)"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    given, extra = parser.parse_known_args(args)
    seconds = measure(given, extra)
    print(f"\n{given.backbone}, batch {given.batch_size}, a step, {given.turns} turns of {given.steps}", end="")
    record = table(seconds, given.batch_size, OURS, REFERENCE)
    print(f"lit-cnn fit has {1 / record['ratio']:.3f} of the speed of the bare loop with both")
    write(given.json, {**record, "backbone": given.backbone, "batch_size": given.batch_size})


if __name__ == "__main__":
    main()
