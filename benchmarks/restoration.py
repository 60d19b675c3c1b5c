"""Images per second of the networks that give images: ``python -m benchmarks.restoration``.

The networks take turns, so that a busy machine slows all; medians of one image at a time are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch

from lit_cnn.models import MODELS, get_model

WARM_UP = 1  # images that are not timed: they allocate


def measure(names: Sequence[str], width: int, height: int, images: int) -> dict[str, float]:
    """Median seconds of an image of each network, in evaluation and in channels_last as ``predict`` runs it."""
    networks = {n: get_model(n, num_classes=3).eval().to(memory_format=torch.channels_last) for n in names}
    image = torch.rand(1, 3, height, width).contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with torch.inference_mode():
        for number in range(images + WARM_UP):
            for name, network in networks.items():
                began = time.perf_counter()
                network(image)
                if number >= WARM_UP:
                    seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main(words: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restoration", description=__doc__)
    parser.add_argument("--width", type=int, default=640, help="pixels")
    parser.add_argument("--height", type=int, default=480, help="pixels")
    parser.add_argument("--images", type=int, default=10, help="timed, of each network")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    names = [name for name, info in MODELS.items() if info.task == "restoration"]
    print(f"{options.width}x{options.height}, {options.threads} threads, torch {torch.__version__}")
    for name, seconds in measure(names, options.width, options.height, options.images).items():
        print(f"{name:8} {1 / seconds:7.2f} images/s {1000 * seconds:8.1f} ms")


if __name__ == "__main__":
    main()
