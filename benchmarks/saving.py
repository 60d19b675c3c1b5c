"""Cost of checkpoints: the share of ``lit-cnn fit``'s time that saving takes: ``python -m benchmarks.saving``.

A real training run (ResNet-18 with the CIFAR stem on 32 x 32 colour images), saved often so that there is something to
measure; the share is given for ``--checkpoint_every 100``. Also timed: the snapshot at every step, from
which a failed step is undone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Callback

from lit_cnn.callbacks.last_checkpoint import LastCheckpoint
from lit_cnn.checkpoint.snapshot import StepSnapshot
from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command

EVERY = 100  # steps between two saves that the share is given for


class StepTimes(Callback):
    """Seconds from a step's start to its update; saving comes after."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_train_batch_start(self, *args: Any) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        """Stop it: this callback comes before the one that saves."""
        self.seconds.append(time.perf_counter() - self._start)


@contextlib.contextmanager
def timed(cls: type, name: str) -> Iterator[list[float]]:
    """Let a method note its seconds in the list that is given."""
    real: Callable[..., Any] = getattr(cls, name)
    seconds: list[float] = []

    def measured(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return real(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - start)

    with mock.patch.object(cls, name, measured):
        yield seconds


def measure(backbone: str, batch_size: int, saves: int, folder: str, extra: Sequence[str]) -> dict[str, float]:
    """Median seconds of a step, of a save and of what each step keeps; size of a checkpoint in bytes."""
    times = StepTimes()
    words = [
        "fit", "--data=Digits", "--data.channels=3", "--img-size=32", f"--batch-size={batch_size}", "--lr=0.05",
        f"--model.backbone={backbone}", "--precision=bf16-mixed", "--trainer.enable_progress_bar=false",
        f"--trainer.max_steps={2 * saves + 2}", "--checkpoint_every=2", "--trainer.limit_val_batches=1",
        f"--trainer.default_root_dir={folder}", *extra,
    ]  # fmt: skip
    with timed(LastCheckpoint, "_save") as save, timed(StepSnapshot, "take") as keep:
        run_command(parse(words), callbacks=[times])
    size = max(p.stat().st_size for p in Path(folder).rglob("last.ckpt"))
    return {
        "step": statistics.median(times.seconds[2:]),
        "save": statistics.median(save),
        "keep": statistics.median(keep),
        "bytes": size,
    }


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18", help="which network (resnet18)")
    parser.add_argument("--batch-size", type=int, default=128, help="images a step (128)")
    parser.add_argument("--saves", type=int, default=10, help="how many saves to time (10)")
    parser.add_argument("--folder", help="where to write checkpoints: the disk that is measured (a temporary folder)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    given, extra = parser.parse_known_args(args)
    stem = ["--model.backbone_args.stem=cifar"] if given.backbone.startswith("resnet") else []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = measure(given.backbone, given.batch_size, given.saves, folder, [*stem, *extra])
    share = found["save"] / (EVERY * found["step"])
    print(f"\n{given.backbone}, batch {given.batch_size}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'a training step':34} {found['step'] * 1e3:9.1f} ms")
    saving = f"a save ({found['bytes'] / 1e6:.0f} MB, flushed, read back)"
    print(f"{saving:34} {found['save'] * 1e3:9.1f} ms")
    print(f"{'share at --checkpoint_every 100':34} {share:9.2%}")
    print(f"{'kept at each step':34} {found['keep'] * 1e3:9.2f} ms, {found['keep'] / found['step']:.2%}")
    if given.json is not None:
        record = {**found, "share": share, "backbone": given.backbone, "batch_size": given.batch_size}
        given.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
