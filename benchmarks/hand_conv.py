"""Training steps of a small network, hand-written convolutions against torch's: ``python -m benchmarks.hand_conv``.

Both take turns, so that a busy machine slows both; medians and their ratio are printed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from lit_cnn.nn.reference.conv import HandConv2d

WARM_UP = 3  # steps that are not timed: they allocate


def network(conv: Callable[..., nn.Module]) -> nn.Sequential:
    """Three convolutions on 32 x 32 colour images, 10 classes."""
    return nn.Sequential(
        conv(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        conv(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        conv(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def measure(steps: int, batch_size: int, device: torch.device) -> dict[str, float]:
    """Median seconds of a training step for each of the two."""
    image = torch.randn(batch_size, 3, 32, 32, device=device)
    target = torch.arange(batch_size, device=device) % 10
    networks = {"nn.Conv2d": network(nn.Conv2d).to(device), "HandConv2d": network(HandConv2d).to(device)}
    optimizers = {name: torch.optim.SGD(net.parameters(), lr=0.01) for name, net in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for step in range(steps + WARM_UP):
        for name, net in networks.items():
            _wait(device)
            start = time.perf_counter()
            optimizers[name].zero_grad()
            F.cross_entropy(net(image), target).backward()
            optimizers[name].step()
            _wait(device)
            if step >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _wait(device: torch.device) -> None:
    """Let the device finish: kernels run on after the call that started them has returned."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    return device.type


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number


def _device(text: str) -> torch.device:
    """The device of that name, if this machine has it."""
    try:
        device = torch.device(text)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # each kind of device fails in its own way
        raise argparse.ArgumentTypeError(f"cannot compute on {text!r}: {str(error).splitlines()[0]}") from None
    return device


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=_positive, default=30, help="timed steps of each network (30)")
    parser.add_argument("--batch-size", type=_positive, default=128, help="images a step (128)")
    parser.add_argument("--device", type=_device, default=torch.device("cpu"), help="cpu, cuda, cuda:1, mps, … (cpu)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    given = parser.parse_args(args)
    if given.json is not None and not given.json.parent.is_dir():
        parser.error(f"argument --json: there is no folder {given.json.parent}")
    seconds = measure(given.steps, given.batch_size, given.device)
    ratio = seconds["HandConv2d"] / seconds["nn.Conv2d"]

    print(f"{given.device} ({_describe(given.device)}), torch {torch.__version__}")
    print(f"batch {given.batch_size}, median of {given.steps} training steps\n")
    print(f"{'convolution':12} {'ms a step':>10} {'ratio':>6}")
    for name, value in seconds.items():
        print(f"{name:12} {value * 1000:10.2f} {value / seconds['nn.Conv2d']:6.2f}")
    if given.json is not None:
        record = {
            "device": str(given.device),
            "device_name": _describe(given.device),
            "torch": torch.__version__,
            "batch_size": given.batch_size,
            "steps": given.steps,
            "seconds_per_step": seconds,
            "ratio": ratio,
        }
        given.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
