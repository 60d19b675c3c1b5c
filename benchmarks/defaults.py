"""What ``lit-cnn fit FOLDER`` with nothing else reaches: ``python -m benchmarks.defaults DIR`` on five small sets.

DIR holds ``flower_photos/<class>/*``, ``vehicles/<class>/*`` and ``cifar10/{train,test}/<class>/*``. The five sets are
image folders made from it: 200 and 900 flowers, the vehicles, 5,000 training images of CIFAR-10 with 1,000 for test,
and scikit-learn's 1,797 digits as PNG files. Without a test folder each seed has its own split. Every run is a complete
``lit-cnn fit`` and ``lit-cnn test`` with the same words; ``before`` names the settings that were the defaults before
they depended on the data. The interval is Wilson's over the test images of all seeds together; ``val`` is the best
validation accuracy.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.turns import write
from lit_cnn.results.scores import wilson

VARIANTS: dict[str, list[str]] = {
    "before": [
        "--img-size=224", "--data.channels=3", "--model.backbone=resnet18", "--optimizer=sgd", "--lr=0.1",
        "--model.weight_decay=5e-4", "--model.lr_warmup_epochs=0", "--model.label_smoothing=0", "--batch-size=64",
        "--epochs=10", "--data.augment.crop_scale=[0.08,1.0]", "--data.augment.flip=0.5",
    ],
    "now": [],
}  # fmt: skip


def copy_some(source: Path, target: Path, counts: Sequence[int]) -> None:
    """Copy the first images of each class folder, so many of each."""
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    for folder, count in zip(folders, counts, strict=True):
        (target / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:count]:
            shutil.copy(path, target / folder.name / path.name)


def _some(source: Path, target: Path, count: int) -> None:
    copy_some(source, target, [count] * sum(path.is_dir() for path in source.iterdir()))


def _cifar(source: Path, target: Path) -> None:
    _some(source / "cifar10" / "train", target / "train", 500)
    _some(source / "cifar10" / "test", target / "test", 100)


def _digits(target: Path) -> None:
    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = target / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15.9375).astype("uint8")).save(folder / f"{number:04}.png")


SETS: dict[str, Callable[[Path, Path], None]] = {
    "flowers200": lambda source, target: _some(source / "flower_photos", target, 40),
    "flowers900": lambda source, target: _some(source / "flower_photos", target, 180),
    "vehicles": lambda source, target: _some(source / "vehicles", target, 25),
    "cifar5000": _cifar,
    "digits": lambda source, target: _digits(target),
}


def measure(images: Path, flags: Sequence[str], seed: int, out: Path) -> dict[str, Any]:
    """Train and test once."""
    shutil.rmtree(out, ignore_errors=True)
    lit_cnn = [sys.executable, "-m", "lit_cnn"]
    words = ["fit", str(images), f"--seed={seed}", f"--data.split_seed={seed}", *flags]
    began, used = time.perf_counter(), os.times().children_user
    silent: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL}
    folder = f"--trainer.default_root_dir={out}"
    subprocess.run([*lit_cnn, *words, folder, "--trainer.enable_progress_bar=false"], **silent)
    seconds, used = time.perf_counter() - began, os.times().children_user - used
    subprocess.run([*lit_cnn, "test", f"--ckpt_path={out}/lightning_logs/version_0/checkpoints/best.ckpt"], **silent)
    run = out / "lightning_logs" / "version_0"
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (predictions,) = run.glob("test*/predictions.csv")
    with predictions.open(newline="") as file:
        hits = [row["true"] == row["predicted"] for row in csv.DictReader(file)]
    val = [float(row["val/acc"]) for row in rows if row.get("val/acc")]
    return {
        "correct": sum(hits),
        "images": len(hits),
        "val": max(val),
        "epochs": len(val),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
    }


def main(args: Sequence[str] | None = None) -> None:
    """Print a row for each set and variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--flags", metavar="WORDS", help="measure these flags, separated by spaces, instead")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("benchmark_defaults"), help="where sets and runs are written")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results to this file as well")
    given = parser.parse_args(args)
    variants = {given.flags: given.flags.split()} if given.flags else {name: VARIANTS[name] for name in given.variants}
    table: dict[str, Any] = {}
    for name in given.sets:
        images = given.work / name
        if not images.is_dir():
            SETS[name](given.dir, images)
        for variant, flags in variants.items():
            runs = [measure(images, flags, seed, given.work / f"run_{os.getpid()}") for seed in given.seeds]
            correct, count = (sum(run[key] for run in runs) for key in ("correct", "images"))
            _, low, high = wilson(correct, count)
            spread = ", ".join(f"{run['correct'] / run['images']:.3f}" for run in runs)
            used = statistics.median(run["cpu_seconds"] for run in runs)
            print(
                f"{name:11} {variant:8} {correct / count:.3f} ({low:.2f}-{high:.2f})  {spread}  "
                f"epochs {runs[0]['epochs']}, CPU {used:.0f} s",
                flush=True,
            )
            table[f"{name} {variant}"] = runs
    write(given.json, json.loads(json.dumps(table)))


if __name__ == "__main__":
    main()
