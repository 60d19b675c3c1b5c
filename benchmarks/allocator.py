"""Speed and memory with and without keeping freed memory: ``python -m benchmarks.allocator``.

ResNet-18 on 224-pixel images in a bare loop, in processes that take turns: with glibc's own settings, and with those
of ``lit_cnn.utils.allocator``, which fit, validate, test and predict apply. Reports seconds, page faults and the peak
memory of a step.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.turns import Bare, write
from lit_cnn.models import get_model
from lit_cnn.utils import allocator

KINDS = ("glibc's own settings", "freed memory is kept")


def child(kept: bool, backbone: str, size: int, batch_size: int, steps: int) -> None:
    """Train some steps in this process; print seconds and page faults of each, and the most memory."""
    if kept:
        allocator.keep_freed_memory()
    loop = Bare(get_model(backbone, num_classes=10, in_channels=3), channels_last=True, bf16=True)
    image, target = torch.randn(batch_size, 3, size, size), torch.arange(batch_size) % 10
    seconds, faults = [], []
    for _ in range(steps + 1):
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        loop(image, target)
        seconds.append(time.perf_counter() - began)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds[1:], "faults": faults[1:], "mib": most}))


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18", help="what to train (resnet18)")
    parser.add_argument("--size", type=int, default=224, help="of the images, in pixels (224)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a batch (64)")
    parser.add_argument("--steps", type=int, default=4, help="steps in each process (4)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind (3)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    parser.add_argument("--child", type=int, choices=(0, 1), help=argparse.SUPPRESS)
    given = parser.parse_args(args)
    if given.child is not None:
        return child(bool(given.child), given.backbone, given.size, given.batch_size, given.steps)
    settings = [
        f"--{name}={getattr(given, name.replace('-', '_'))}" for name in ("backbone", "size", "batch-size", "steps")
    ]
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for _ in range(given.rounds):
        for kept, kind in enumerate(KINDS):
            command = [sys.executable, "-m", "benchmarks.allocator", f"--child={kept}", *settings]
            rows[kind].append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    print(f"{given.backbone}, batches of {given.batch_size} images of {given.size} px")
    print(f"{'':24} {'s/step':>8} {'faults/step':>12} {'most MiB':>9}")
    step = {kind: statistics.median(statistics.median(row["seconds"]) for row in found) for kind, found in rows.items()}
    for kind, found in rows.items():
        faults = statistics.median(statistics.median(row["faults"]) for row in found)
        most = statistics.median(row["mib"] for row in found)
        print(f"{kind:24} {step[kind]:8.3f} {faults:12,.0f} {most:9,.0f}")
    ratio = step[KINDS[0]] / step[KINDS[1]]
    print(f"{ratio:.2f} times as fast")
    write(given.json, {"settings": settings, "rows": rows, "ratio": ratio})
    return None


if __name__ == "__main__":
    main()
