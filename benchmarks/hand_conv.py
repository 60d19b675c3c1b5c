"""Training steps of one small network with convolutions by hand and with torch's: ``python -m benchmarks.hand_conv``.

Both take turns, so that a busy machine slows both; medians and their ratio are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from lit_cnn.nn.conv import HandConv2d


def network(conv: Callable[..., nn.Module]) -> nn.Sequential:
    """Three convolutions on 32 x 32 colour images, 10 classes."""
    return nn.Sequential(
        conv(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        conv(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        conv(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def measure(steps: int, batch_size: int) -> dict[str, float]:
    """Median seconds of a training step for each of the two."""
    image, target = torch.randn(batch_size, 3, 32, 32), torch.arange(batch_size) % 10
    networks = {"nn.Conv2d": network(nn.Conv2d), "HandConv2d": network(HandConv2d)}
    optimizers = {name: torch.optim.SGD(net.parameters(), lr=0.01) for name, net in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for step in range(steps + 3):
        for name, net in networks.items():
            start = time.perf_counter()
            optimizers[name].zero_grad()
            F.cross_entropy(net(image), target).backward()
            optimizers[name].step()
            if step >= 3:  # the first ones allocate
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    medians = measure(arguments.steps, arguments.batch_size)
    for name, value in medians.items():
        print(f"{name:12} {value * 1000:8.1f} ms a step (median of {arguments.steps}, batch {arguments.batch_size})")
    print(f"ratio        {medians['HandConv2d'] / medians['nn.Conv2d']:8.2f}")


if __name__ == "__main__":
    main()
