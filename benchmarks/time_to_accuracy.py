"""Accuracy, seconds and operations of a config, seed by seed: ``python -m benchmarks.time_to_accuracy --data-dir DIR``.

Each seed is a complete ``lit-cnn fit`` (for configs/speedrun_cifar.yaml some twenty minutes on two cores) and a
``lit-cnn test`` of its last checkpoint, with the config's test-time averaging and without. Seconds are those of
training, validation and saving, without starting up. Operations are torch's count for an image forward and backward,
times the images trained on, and forward for those of validation and test; what an optimizer computes is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.turns import CLOCKS, timed, write
from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command
from lit_cnn.tasks.classification import ImageClassifier

AIRBENCH = {
    "accuracy": 0.907,
    "pflop": 0.29,
    "seconds": 1250.0,
}  # airbench94 (Muon) in bf16 on two cores, with averaging
COPIES = {"none": 1, "flip": 2, "flip_shift": 6}  # forward passes for one image


class Cost(Callback):
    """Operations of an image, forwards and forwards and backwards, images it went over, and seconds of the fit."""

    def __init__(self) -> None:
        self.trained = self.validated = 0
        self.forward = self.both = 0.0
        self.seconds = self._start = 0.0

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        """Start the clock."""
        self._start = CLOCKS["wall"]()

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        """Count images; before the first step, operations too, on a copy of two images that changes nothing."""
        if not self.trained:
            self._count(module, batch)
            self._start = CLOCKS["wall"]()
        self.trained += len(batch.target)

    def on_validation_batch_start(
        self, trainer: Trainer, module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count images."""
        self.validated += len(batch.target)

    def on_train_end(self, trainer: Trainer, module: Any) -> None:
        """Stop the clock."""
        self.seconds = CLOCKS["wall"]() - self._start

    def _count(self, module: ImageClassifier, batch: Any) -> None:
        kept = {name: value.clone() for name, value in module.backbone.state_dict().items()}
        image = batch.image[:2]
        with FlopCounterMode(display=False) as counter:
            loss = module.loss(module(image), batch.target[:2])[0]
            self.forward = counter.get_total_flops() / 2
            loss.backward()
        self.both = counter.get_total_flops() / 2
        module.backbone.load_state_dict(kept)
        module.zero_grad(set_to_none=True)


def measure(config: str, seed: int, extra: Sequence[str]) -> dict[str, Any]:
    """One seed's accuracies, seconds of training and of the test, and operations in 10^15."""
    cost = Cost()
    with tempfile.TemporaryDirectory() as folder:
        words = [f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false"]
        run_command(parse(["fit", "--config", config, *extra, f"--seed={seed}", *words]), callbacks=[cost])
        run = next(Path(folder).rglob("last.ckpt")).parent.parent
        path = f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"
        tested = timed(lambda: run_command(parse(["test", path, *words])))
        run_command(parse(["test", path, "--model.tta=none", *words]))
        reports = sorted(run.glob("test*/metrics.json"), key=lambda file: file.stat().st_mtime_ns)
        accuracy, plain = (json.loads(file.read_text())["test/acc"] for file in reports)
        images = json.loads(reports[0].read_text())["images"]
        tta = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["lit_cnn"]["config"]["model"]["tta"]
    train = (cost.trained * cost.both + cost.validated * cost.forward) / 1e15
    return {
        "seed": seed,
        "accuracy": accuracy,
        "accuracy_without_averaging": plain,
        "seconds": cost.seconds,
        "test_seconds": tested,
        "pflop": train + images * COPIES[tta] * cost.forward / 1e15,
        "pflop_training": train,
    }


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given; further words are settings of ``lit-cnn fit``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config", default="configs/speedrun_cifar.yaml", help="what to run (configs/speedrun_cifar.yaml)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="which seeds (0 1 2)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    given, extra = parser.parse_known_args(args)
    rows = [measure(given.config, seed, extra) for seed in given.seeds]
    print(
        f"\n{given.config}, torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'seed':>6} {'accuracy':>9} {'no averaging':>13} {'seconds':>9} {'+ test':>7} {'PFLOP':>8} {'training':>9}")
    for row in rows:
        print(
            f"{row['seed']:6} {row['accuracy']:9.4f} {row['accuracy_without_averaging']:13.4f} {row['seconds']:9.1f} "
            f"{row['test_seconds']:7.1f} {row['pflop']:8.4f} {row['pflop_training']:9.4f}"
        )
    accuracies = [row["accuracy"] for row in rows]
    spread = f" ± {statistics.stdev(accuracies):.4f}" if len(rows) > 1 else ""
    print(f"mean {statistics.mean(accuracies):.4f}{spread}; airbench94 (Muon) on two cores: {AIRBENCH}")
    record = {"config": given.config, "settings": extra, "torch": torch.__version__, "peer": AIRBENCH, "runs": rows}
    write(given.json, record)


if __name__ == "__main__":
    main()
