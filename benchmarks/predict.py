"""Time and memory of ``lit-cnn predict`` for many files: ``python -m benchmarks.predict --ckpt_path PATH PHOTOS``.

PHOTOS are copied by hard links until there are ``--counts`` files. ``predict`` runs as a process of its own on each
number; its time, less that of a single image, is compared with decoding all files (by the same decoder and threads) and
the network's forward pass, one after the other and nothing else, in turns. Memory is the largest resident set.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

import lit_cnn
from benchmarks.turns import write
from lit_cnn.checkpoint.record import read_record
from lit_cnn.cli.checkpoint_argument import predict_data
from lit_cnn.data.decoding.find import find_image_files
from lit_cnn.data.images import Images


def link(photos: Path, folder: Path, count: int) -> None:
    """Fill a folder with ``count`` names of the photos."""
    found = [photos / name for name in sorted(find_image_files(photos))]
    for number in range(count):
        source = found[number % len(found)]
        os.link(source, folder / f"{number:07d}{source.suffix}")


def predict(ckpt_path: str, folder: Path, project: Path) -> tuple[float, float]:
    """Seconds and megabytes of a process."""
    began = time.perf_counter()
    words = ["predict", f"--ckpt_path={ckpt_path}", str(folder), f"--project={project}"]
    words += ["--trainer.enable_progress_bar=false"]
    process = subprocess.Popen([sys.executable, "-m", "lit_cnn", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"predict ended with status {process.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def bare(ckpt_path: str, folder: Path) -> tuple[float, float]:
    """Seconds to decode all files, and of the forward passes over as many images."""
    record = read_record(Path(ckpt_path))
    network = lit_cnn.load(ckpt_path).task.backbone.eval()
    data = Images(**predict_data(record, [str(folder)])["init_args"])
    data.batch_size = record.config["data"]["init_args"]["batch_size"]
    data.prepare_data()
    data.setup("predict")
    began = time.perf_counter()
    shapes = [tuple(batch.image.shape) for batch in data.predict_dataloader()]
    decoded = time.perf_counter()
    with torch.inference_mode():
        for shape in shapes:
            network(torch.zeros(shape))
    return decoded - began, time.perf_counter() - decoded


def main(args: Sequence[str] | None = None) -> None:
    """Print a row for each number of files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--ckpt_path", required=True, metavar="FILE")
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results to this file as well")
    given = parser.parse_args(args)
    rows: dict[str, Any] = {}
    print(f"{'files':>9} {'predict':>9} {'start':>7} {'decode':>7} {'forward':>8} {'ratio':>6} {'MB':>6}")
    for count in given.counts:
        with tempfile.TemporaryDirectory(dir=given.photos.parent) as place:
            folder, single = Path(place, "many"), Path(place, "one")
            for each, number in ((folder, count), (single, 1)):
                each.mkdir()
                link(given.photos, each, number)
            rounds = []
            for _ in range(given.rounds):
                start, _ = predict(given.ckpt_path, single, Path(place))
                whole, memory = predict(given.ckpt_path, folder, Path(place))
                rounds.append((whole, start, *bare(given.ckpt_path, folder), memory))
            whole, start, decode, forward, memory = (median(each) for each in zip(*rounds, strict=True))
            ratio = median((w - s) / (d + f) for w, s, d, f, _ in rounds)
            print(f"{count:9,} {whole:9.1f} {start:7.1f} {decode:7.1f} {forward:8.1f} {ratio:6.2f} {memory:6.0f}")
            rows[str(count)] = {"ratio": ratio, "seconds": whole, "megabytes": memory}
    write(given.json, rows)


if __name__ == "__main__":
    main()
