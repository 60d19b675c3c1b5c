"""How well a network tells images that are unlike its own: ``python -m benchmarks.ood DIR [--weights FILE]``.

DIR holds ``flower_photos/<class>/*`` and ``cifar10/{train,test}/<class>/*``. Flowers: each class in turn is left out of
training (with ``--weights``, of timm/tf_efficientnet_lite0, the head alone is trained on them, else ``lit-cnn fit
FOLDER`` as it is); CIFAR-10: 5,000 training images. Every network then sees its own test images, and images of other
kinds: the flowers left out, scikit-learn's digits, and noise. Prints the AUROC of ``ood_score`` in predictions.csv, and
the shares of both kinds above the threshold.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from benchmarks.defaults import copy_some
from benchmarks.turns import write

NOISE = 100


def make_strangers(work: Path) -> dict[str, Path]:
    """Folders of digits and of noise, in colour."""
    for name in ("digits", "noise"):
        (work / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(NOISE):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((224, 224), Image.Resampling.NEAREST).save(work / "noise" / f"{number}.png")
    for number, digit in enumerate(load_digits().images[:500]):
        grey = Image.fromarray((digit * 255 / 16).astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
        grey.convert("RGB").save(work / "digits" / f"{number}.png")
    return {name: work / name for name in ("digits", "noise")}


def _run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "lit_cnn", *words], check=True, stdout=subprocess.DEVNULL)


def scores(model: Path, images: Path) -> tuple[np.ndarray, np.ndarray]:
    """Scores and whether they are above the threshold, of the images in a folder."""
    target = model.parent / f"predictions_{os.getpid()}.csv"
    _run("predict", f"--ckpt_path={model}", str(images), f"--predictions={target}", f"--project={model.parent / 'p'}")
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([float(row["ood_score"]) for row in rows]), np.array([row["ood"] == "true" for row in rows])


def compare(name: str, model: Path, own: Path, others: dict[str, Path]) -> dict[str, Any]:
    """Print and return AUROC and shares above the threshold."""
    mine, above = scores(model, own)
    found: dict[str, Any] = {}
    for kind, folder in others.items():
        theirs, strange = scores(model, folder)
        labels = np.r_[np.zeros(len(mine)), np.ones(len(theirs))]
        auroc = float(roc_auc_score(labels, np.r_[mine, theirs]))
        found[f"{name} / {kind}"] = {"auroc": auroc, "own": float(above.mean()), "other": float(strange.mean())}
        print(f"{name:22} {kind:8} AUROC {auroc:.3f}  told {strange.mean():.2f}, own {above.mean():.2f}", flush=True)
    return found


def main(args: Sequence[str] | None = None) -> None:
    """Print a row for each pair of a network and a kind of strangers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--weights", type=Path, help="of timm/tf_efficientnet_lite0")
    parser.add_argument("--work", type=Path, default=Path("benchmark_ood"), help="where sets and runs are written")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results to this file as well")
    given = parser.parse_args(args)
    work = given.work
    strangers, table = make_strangers(work), {}
    flowers = sorted(path.name for path in (given.dir / "flower_photos").iterdir() if path.is_dir())
    start = ["--model.backbone=timm/tf_efficientnet_lite0", f"--weights={given.weights}", "--freeze=backbone"]
    start += ["--data.mean=[0.5,0.5,0.5]", "--data.std=[0.5,0.5,0.5]"]
    for left_out in flowers:
        folder = work / f"without_{left_out}"
        for name in (name for name in flowers if name != left_out and not folder.exists()):
            photos = sorted((given.dir / "flower_photos" / name).iterdir())
            for number, photo in enumerate(photos):
                place = folder.with_suffix(".new") / ("test" if number % 5 == 0 else "train") / name / photo.name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(photo, place)
        if not folder.exists():
            folder.with_suffix(".new").rename(folder)
        root = work / f"run_{left_out}"
        _run("fit", str(folder), f"--project={root}", "--name=run", *(start if given.weights else []))
        model = root / "lightning_logs" / "run" / "checkpoints" / "best.ckpt"
        others = {"left out": given.dir / "flower_photos" / left_out, "noise": strangers["noise"]}
        table |= compare(f"without {left_out}", model, folder / "test", others)
    if not (work / "cifar").is_dir():
        copy_some(given.dir / "cifar10" / "train", work / "cifar" / "train", [500] * 10)
        copy_some(given.dir / "cifar10" / "test", work / "cifar" / "test", [100] * 10)
    _run("fit", str(work / "cifar"), f"--project={work / 'run_cifar'}", "--name=run")
    model = work / "run_cifar" / "lightning_logs" / "run" / "checkpoints" / "best.ckpt"
    table |= compare("CIFAR-10, 5,000", model, work / "cifar" / "test", strangers)
    write(given.json, json.loads(json.dumps(table)))


if __name__ == "__main__":
    main()
