"""A frozen backbone's head against logistic regression on the same features: ``python -m benchmarks.transfer DIR …``.

DIR holds a folder of images per class, ``--weights`` trained weights of a timm network. The images are divided into
folds, stratified by class. On each, two programs take turns, each in a process of its own: ``lit-cnn fit`` with
``--model.freeze backbone``, or the flags after ``--``, and scikit-learn's logistic regression on features that timm
computes with its own transform. Both train on all other folds; accuracies are those on the fold,
of lit-cnn after its last epoch, and seconds are processor time, imports and decoding included::

    python -m benchmarks.transfer flower_photos --weights tf_efficientnet_lite0.pth
    python -m benchmarks.transfer flower_photos --weights tf_efficientnet_lite0.pth -- --epochs 8
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HEAD = ("--model.freeze=backbone",)
OURS, REFERENCE = "lit-cnn fit", "timm and logistic regression"
BATCH = 32  # images at a time, for the reference


def find_images(folder: Path, limit: int | None = None) -> tuple[list[Path], np.ndarray]:
    """Image files of all class folders, at most ``limit`` of each class, and their classes, int64 (N,)."""
    files: list[Path] = []
    targets: list[int] = []
    for number, group in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        found = sorted(path for path in group.iterdir() if not path.name.startswith("."))[:limit]
        files += found
        targets += [number] * len(found)
    return files, np.array(targets)


def folds(targets: np.ndarray, count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions to train on and to measure on, for each fold."""
    from sklearn.model_selection import StratifiedKFold

    return list(StratifiedKFold(count, shuffle=True, random_state=seed).split(targets, targets))


def lay_out(files: Sequence[Path], parts: tuple[np.ndarray, np.ndarray], root: Path) -> Path:
    """A folder with ``train`` and ``val`` that link to the images of a fold."""
    for name, members in zip(("train", "val"), parts, strict=True):
        for i in members:
            link = root / name / files[i].parent.name / files[i].name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(files[i].resolve())
    return root


def train(data: Path, backbone: str, weights: str, flags: Sequence[str], root: Path) -> float:
    """Accuracy on ``val`` after the last epoch of a run of ``lit-cnn fit``."""
    words = [
        "fit", str(data), f"--model.backbone=timm/{backbone}", f"--model.weights={weights}", f"--project={root}",
        "--trainer.enable_progress_bar=false", *flags,
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "lit_cnn", *words], check=True, stdout=subprocess.DEVNULL)
    with (root / "lightning_logs" / "version_0" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return float(list(csv.DictReader(file))[-1]["val/acc"])


def logistic_regression(data: Path, backbone: str, weights: str) -> float:
    """Accuracy on ``val`` of logistic regression on timm's features of ``train``."""
    import timm
    import torch
    from PIL import Image
    from sklearn.linear_model import LogisticRegression

    network = timm.create_model(backbone, num_classes=0).eval()
    network.load_state_dict(torch.load(weights, weights_only=True), strict=False)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
    parts: dict[str, tuple[Any, Any]] = {}
    for name in ("train", "val"):
        files, targets = find_images(data / name)
        features = []
        with torch.inference_mode():
            for start in range(0, len(files), BATCH):
                batch = [transform(Image.open(path).convert("RGB")) for path in files[start : start + BATCH]]
                features.append(network(torch.stack(batch)))
        parts[name] = torch.cat(features).numpy(), targets
    return float(LogisticRegression(max_iter=2000).fit(*parts["train"]).score(*parts["val"]))


def reference(data: Path, backbone: str, weights: str) -> float:
    """:func:`logistic_regression` in a process of its own, so that its time counts the same things."""
    words = [sys.executable, "-m", "benchmarks.transfer", str(data), "--backbone", backbone, "--weights", weights]
    done = subprocess.run([*words, "--reference"], check=True, capture_output=True, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def seconds() -> float:
    """Processor time of all child processes so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", required=True, help="file of timm's weights")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="of timm")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--first", type=int, help="measure on so many of the folds only")
    parser.add_argument("--per-class", type=int, help="images of each class at most")
    parser.add_argument("--skip-reference", action="store_true")
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="keep the results in this file")
    given = list(sys.argv[1:] if words is None else words)
    split = given.index("--") if "--" in given else len(given)
    args, flags = parser.parse_args(given[:split]), given[split + 1 :] or list(HEAD)
    if args.reference:
        print(logistic_regression(args.folder, args.backbone, args.weights))
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    files, targets = find_images(args.folder, args.per_class)
    results: dict[str, list[tuple[float, float]]] = {OURS: [], REFERENCE: []}
    weights = str(Path(args.weights).resolve())
    for parts in folds(targets, args.folds)[: args.first]:
        with tempfile.TemporaryDirectory() as folder:
            data = lay_out(files, parts, Path(folder, "data"))
            for name in list(results)[: 1 if args.skip_reference else 2]:
                began = seconds()
                if name == OURS:
                    accuracy = train(data, args.backbone, weights, flags, Path(folder))
                else:
                    accuracy = reference(data, args.backbone, weights)
                results[name].append((accuracy, seconds() - began))
                print(f"{name}: {accuracy:.4f} in {results[name][-1][1]:.1f} s", flush=True)
    for name, found in results.items():
        if found:
            scores, times = zip(*found, strict=True)
            print(
                f"{name:30} accuracy {statistics.mean(scores):.4f} ({min(scores):.3f} to {max(scores):.3f}), "
                f"{statistics.mean(times):.1f} s ({min(times):.1f} to {max(times):.1f})"
            )
    if args.json:
        args.json.write_text(json.dumps({"images": len(files), "flags": flags, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
