"""An epoch of a small network, whose steps are so short that all around them counts: ``python -m benchmarks.epoch``.

Four ways to train LeNet on Fashion-MNIST take turns: torchvision's transforms in a DataLoader with two workers; a bare
loop over images in memory; Lightning's trainer with nothing switched on, on the same in-memory loader; ``lit-cnn fit``
with all that it does by default (validation, checkpoints, metrics, progress, checks). Seconds are those of a training
epoch, and for lit-cnn also of all that belongs to it: validation and saving included. ``--clock cpu`` counts this
thread's own time, for machines that are busy with other things; set OMP_NUM_THREADS=1, and skip the kinds that work in
processes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.turns import CLOCKS, Bare, made_up, table, timed, write
from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command
from lit_cnn.data import FashionMNIST
from lit_cnn.data.arrays import ArraySource
from lit_cnn.models import get_model

OURS, REFERENCE = "lit-cnn fit, training", "bare loop in memory"


class InMemory:
    """Batches of normalised images from memory, in a new random order each epoch."""

    def __init__(self, image: Tensor, target: Tensor, batch_size: int, mean: float, std: float) -> None:
        self.image, self.target, self.batch_size, self.mean, self.std = image, target, batch_size, mean, std

    def __len__(self) -> int:
        return len(self.image) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.image))
        for rows in order[: len(self) * self.batch_size].split(self.batch_size):
            yield (self.image[rows].float() / 255 - self.mean) / self.std, self.target[rows]


class OneByOne(Dataset):
    """The same images, each through torchvision's transforms."""

    def __init__(self, image: Tensor, target: Tensor, mean: float, std: float) -> None:
        self.arrays, self.targets = image.permute(0, 2, 3, 1).numpy(), target.tolist()
        self.transform = transforms.Compose(
            [transforms.ToPILImage(), transforms.ToTensor(), transforms.Normalize((mean,), (std,))]
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(self.arrays[row]), self.targets[row]


class Plain(LightningModule):
    """A training step and an optimizer."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.network = get_model(backbone, num_classes=10, in_channels=1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As in the other loops."""
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, nesterov=True)


class EpochTimes(Callback):
    """Seconds of the first epoch's training, and of it all."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.training = self.all = self._start = 0.0

    def on_train_start(self, *args: Any) -> None:
        """Start the clock."""
        self._start = self.clock()

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """The last one to come counts."""
        self.training = self.clock() - self._start

    def on_train_end(self, *args: Any) -> None:
        """After validation and the epoch's checkpoints."""
        self.all = self.clock() - self._start


def plain_lightning(backbone: str, loader: InMemory, clock: Callable[[], float]) -> float:
    """Seconds of an epoch of Lightning's trainer without anything else."""
    times = EpochTimes(clock)
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", devices=1, enable_model_summary=False, callbacks=[times], **quiet
    )
    trainer.fit(Plain(backbone), loader)
    return times.training


def lit_cnn(backbone: str, batch_size: int, extra: Sequence[str], clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds of an epoch of ``lit-cnn fit``: its training, and all of it."""
    times = EpochTimes(clock)
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "fit", "--data=FashionMNIST", "--data.augment.crop_padding=0", "--data.augment.flip=0",
            f"--batch-size={batch_size}", f"--model.backbone={backbone}", "--lr=0.01", "--device=cpu", "--epochs=1",
            f"--trainer.default_root_dir={folder}", *extra,
        ]  # fmt: skip
        run_command(parse(words), callbacks=[times])
    return times.training, times.all


def measure(given: argparse.Namespace, extra: Sequence[str]) -> tuple[dict[str, list[float]], int]:
    """Seconds of each way, round by round, and the images of an epoch."""
    data = FashionMNIST(data_dir=given.data_dir)
    data.setup("fit")
    part = data.train_dataloader()
    source = part.source
    assert isinstance(source, ArraySource)
    image, target = source.images[part.indices], source.targets[part.indices]
    mean, std = data.MEAN[0], data.STD[0]
    memory = InMemory(image, target, given.batch_size, mean, std)
    bare, slow = (Bare(get_model(given.backbone, num_classes=10, in_channels=1)) for _ in range(2))
    per_sample = DataLoader(
        OneByOne(image, target, mean, std), given.batch_size, shuffle=True, num_workers=2, drop_last=True
    )
    seconds: dict[str, list[float]] = {}
    clock = CLOCKS[given.clock]

    def note(name: str, value: float) -> None:
        seconds.setdefault(name, []).append(value)

    def train(loop: Bare, loader: Any) -> None:
        for batch in loader:
            loop(*batch)

    for loop in (bare, slow):
        loop(*next(iter(memory)))
    for _ in range(given.rounds):
        if not given.skip_torchvision:
            note("torchvision, 2 workers", timed(lambda: train(slow, per_sample), clock))
        note(REFERENCE, timed(lambda: train(bare, memory), clock))
        note("plain Lightning, same loader", plain_lightning(given.backbone, memory, clock))
        words = [f"--data-dir={given.data_dir}", *extra]
        training, everything = lit_cnn(given.backbone, given.batch_size, words, clock)
        note(OURS, training)
        note("lit-cnn fit, validation and saving too", everything)
    return seconds, len(memory) * given.batch_size


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="lenet_maxpool", help="which network (lenet_maxpool)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step (64)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each takes its turn (3)")
    parser.add_argument("--images", type=int, default=60_000, help="how many are made up without --data-dir (60000)")
    parser.add_argument("--data-dir", metavar="DIR", help="where Fashion-MNIST is; without it, images are made up")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what counts as time (wall)")
    parser.add_argument("--skip-torchvision", action="store_true", help="leave the slowest one out")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    given, extra = parser.parse_known_args(args)
    if given.data_dir is None:
        given.data_dir = "."
        with made_up(given.images):
            seconds, count = measure(given, extra)
    else:
        seconds, count = measure(given, extra)
    print(f"\n{given.backbone}, batch {given.batch_size}, an epoch of {count:,} images, {given.rounds} rounds", end="")
    record = table(seconds, count, OURS, REFERENCE)
    write(given.json, {**record, "backbone": given.backbone, "batch_size": given.batch_size})


if __name__ == "__main__":
    main()
