"""What each part of a recipe brings on small sets: ``python -m benchmarks.recipe_parts DIR``.

DIR holds ``cifar10/{train,test}/<class>/*``. Two image folders are made from it, both with 200 test images a class:
``even`` with 500 training images of each class, and ``uneven``, where each class has 0.6 times as many as the one
before (500 to 5). Every row is ``lit-cnn fit FOLDER`` with what it chooses by itself, in a fixed number of epochs, and
one more part. The interval is Wilson's over the test images of all seeds; all rows see the same test images.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.defaults import copy_some, measure
from benchmarks.turns import write
from lit_cnn.results.scores import wilson

CLASSES, IMAGES, TEST, RARER = 10, 500, 200, 0.6
EVEN = {
    "nothing more": [],
    "RandAugment": ["--data.augment.policy=rand_augment"],
    "TrivialAugment": ["--data.augment.policy=trivial_augment"],
    "AugMix": ["--data.augment.policy=augmix"],
    "mixup": ["--model.mixup_alpha=0.2"],
    "CutMix": ["--model.cutmix_alpha=1"],
    "random erasing": ["--data.augment.erase=0.25"],
    "growing images": ["--data.augment.progressive_size=0.5"],
    "averaged weights": ["--model.ema_decay=0.99"],
    "BCE": ["--model.loss=bce"],
    "focal loss": ["--model.loss=focal"],
}
UNEVEN = {
    "nothing more": [],
    "class weights": ["--model.class_weights=balanced"],
    "balanced sampling": ["--data.sampling=balanced"],
    "focal loss": ["--model.loss=focal"],
}


def make_sets(source: Path, work: Path) -> dict[str, Path]:
    """The two image folders, made once."""
    counts = {"even": [IMAGES] * CLASSES, "uneven": [round(IMAGES * RARER**i) for i in range(CLASSES)]}
    for name, numbers in counts.items():
        if not (work / name).is_dir():
            copy_some(source / "cifar10" / "train", work / name / "train", numbers)
            copy_some(source / "cifar10" / "test", work / name / "test", [TEST] * CLASSES)
    return {name: work / name for name in counts}


def main(args: Sequence[str] | None = None) -> None:
    """Print a row for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--only", nargs="+", metavar="PART", help="measure these parts alone")
    parser.add_argument("--work", type=Path, default=Path("benchmark_parts"), help="where sets and runs are written")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results to this file as well")
    given = parser.parse_args(args)
    sets = make_sets(given.dir, given.work)
    table: dict[str, Any] = {}
    for name, parts in (("even", EVEN), ("uneven", UNEVEN)):
        for part, flags in parts.items():
            if given.only and part not in given.only:
                continue
            words = [f"--epochs={given.epochs}", *flags]
            runs = [measure(sets[name], words, seed, given.work / f"run_{os.getpid()}") for seed in given.seeds]
            correct, count = (sum(run[key] for run in runs) for key in ("correct", "images"))
            _, low, high = wilson(correct, count)
            print(f"{name:7} {part:18} {correct / count:.3f} ({low:.3f}-{high:.3f})", flush=True)
            table[f"{name} {part}"] = runs
    write(given.json, json.loads(json.dumps(table)))


if __name__ == "__main__":
    main()
