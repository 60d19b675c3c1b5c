"""Seconds of Muon's matrix iteration in float32 and in bfloat16 on this CPU: ``python -m benchmarks.muon``.

For the filters of ResNet-18, three steps each as in configs/resnet18_cifar.yaml, on one thread; the two take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from unittest import mock

import torch
from torch import Tensor

from lit_cnn.models import get_model
from lit_cnn.optim import muon
from lit_cnn.utils.cpu import has_bfloat16


def seconds(matrices: Sequence[Tensor], bfloat16: bool) -> float:
    """Time of one update of all matrices."""
    with mock.patch.object(muon, "has_bfloat16", return_value=bfloat16):
        began = time.perf_counter()
        for matrix in matrices:
            muon.orthogonalize(matrix, 3)
        return time.perf_counter() - began


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    network = get_model(args.backbone, num_classes=10)
    matrices = [p.detach().flatten(1) for p in network.parameters() if p.ndim == 4]
    found: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(args.turns):
        for bfloat16, times in found.items():
            times.append(seconds(matrices, bfloat16))
    for bfloat16, times in found.items():
        name = "bfloat16" if bfloat16 else "float32"
        print(f"{name}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")
    print(f"this CPU has instructions for bfloat16: {has_bfloat16()}")


if __name__ == "__main__":
    main()
