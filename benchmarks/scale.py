"""Time and memory of ``lit-cnn fit`` against the size of the data and the number of processes.

``python -m benchmarks.scale`` trains on 1, 2, 4 and 8 times as many JPEG files, in 1 and in 2 processes, each time in
fresh processes of one thread, with ``--data.cache disk``. The global batch is always the same. ``first`` is the epoch
in which images are decoded, ``epoch`` the median of those after it, from start to start with validation and saving.
``resident`` and ``private`` are what the largest process holds at an epoch's end: all its memory, and what of it the
system cannot take back (the cache's pages are not private). Without ``--data-dir`` the files are made up.

benchmarks/memory.py measures reading the cache alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback
from PIL import Image

from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command
from lit_cnn.utils import memory

FACTORS, RANKS = (1, 2, 4, 8), (1, 2)


class Usage(Callback):
    """Seconds of each epoch, and the most memory that this process held at the end of one."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.resident = self.private = 0

    def on_train_epoch_start(self, *args: Any) -> None:
        """Note the time."""
        self.starts.append(time.perf_counter())

    def on_train_epoch_end(self, *args: Any) -> None:
        """Measure the memory."""
        self.resident, self.private = max(self.resident, memory.used()), max(self.private, memory.private())

    def on_train_end(self, *args: Any) -> None:
        """The last epoch ends here."""
        self.starts.append(time.perf_counter())


def write_pictures(folder: Path, count: int, side: int, source: Path | None) -> None:
    """Two classes of ``count`` JPEG files: links to those under ``source``, or noise of ``side`` x ``side`` pixels."""
    files = sorted(source.rglob("*.jpg")) if source is not None else []
    for i in range(count):
        path = folder / "ab"[i % 2] / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if files:
            path.symlink_to(files[i % len(files)].resolve())
        else:
            noise = np.random.default_rng(i).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
            Image.fromarray(noise).resize((side, side)).save(path)


def train(answers: Path, words: Sequence[str]) -> None:
    """In a separate process: train, and write what this rank used."""
    usage = Usage()
    run_command(parse(["fit", *words]), callbacks=[usage])
    seconds = [end - start for start, end in zip(usage.starts, usage.starts[1:], strict=False)]
    record = {"seconds": seconds, "resident": usage.resident, "private": usage.private}
    (answers / f"{os.environ['RANK']}.json").write_text(json.dumps(record))


def measure(data: Path, ranks: int, given: argparse.Namespace, extra: Sequence[str]) -> dict[str, float]:
    """Train in so many processes; times of the slowest and memory of the largest."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "--data=ImageFolder", f"--data-dir={data}", f"--img-size={given.image_size}", "--data.cache=disk",
            f"--batch-size={given.batch_size // ranks}", f"--epochs={given.epochs}", "--data.workers=1",
            f"--model.backbone={given.backbone}", "--lr=0.01", "--trainer.enable_progress_bar=false",
            "--trainer.accelerator=cpu", f"--trainer.devices={ranks}", f"--trainer.default_root_dir={folder}",
            f"--trainer.strategy={'ddp' if ranks > 1 else 'auto'}", *extra,
        ]  # fmt: skip
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        command += ["-m", "benchmarks.scale", "--train", folder, *words]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "LIT_CNN_CACHE": f"{folder}/cache"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(ranks)]
        store = sum(path.stat().st_size for path in Path(folder, "cache").rglob("pixels-*"))
    return {
        "ranks": ranks,
        "store": store,
        "first_seconds": max(f["seconds"][0] for f in found),
        "epoch_seconds": max(statistics.median(f["seconds"][1:]) for f in found),
        "resident": max(f["resident"] for f in found),
        "private": max(f["private"] for f in found),
    }


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unit", type=int, default=400, help="images in the smallest set (400)")
    parser.add_argument("--side", type=int, default=256, help="of a made-up image, in pixels (256)")
    parser.add_argument("--data-dir", type=Path, help="take JPEG files from this folder, and again from its start")
    parser.add_argument("--image-size", type=int, default=64, help="that the network gets (64)")
    parser.add_argument("--backbone", default="convnet_pooled", help="which network (convnet_pooled)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step, over all processes (64)")
    parser.add_argument("--epochs", type=int, default=4, help="of each run (4)")
    parser.add_argument("--factors", type=int, nargs="+", default=FACTORS, help="sizes of the data (1 2 4 8)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    given, extra = parser.parse_known_args(args)
    rows = []
    for factor in given.factors:
        with tempfile.TemporaryDirectory() as folder:
            count = factor * given.unit
            write_pictures(Path(folder), count, given.side, given.data_dir)
            for ranks in RANKS:
                rows.append({"factor": factor, "images": count, **measure(Path(folder), ranks, given, extra)})
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; times against the smallest set, same processes")
    print("data  processes    store     first     epoch         resident  private")
    for row in rows:
        base = next(r for r in rows if r["ranks"] == row["ranks"])
        row["times"] = row["epoch_seconds"] / base["epoch_seconds"]
        times = f"{row['first_seconds']:8.2f}s {row['epoch_seconds']:8.2f}s ({row['times']:4.1f}x)"
        sizes = " ".join(f"{row[name] / 2**20:7.0f}M" for name in ("resident", "private"))
        print(f"{row['factor']:3}x {row['ranks']:10} {row['store'] / 2**20:7.0f}M {times} {sizes}")
    if given.json is not None:
        settings = {k: v for k, v in vars(given).items() if k not in ("json", "data_dir")}
        given.json.write_text(json.dumps({**settings, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()
