"""The pages of docs/lab: which runs each reads, its table and its picture."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.lab import gradients, pictures
from benchmarks.lab.runs import LOGS, Run, read_run, read_sweep
from lit_cnn.nn.reference.conv import conv2d
from lit_cnn.nn.reference.loops import conv2d_loops


class Given(NamedTuple):
    """What a page is made of.

    Attributes:
        root: folder of the runs.
        picture: PNG to write.
        data: training images, for the page that measures on them.
    """

    root: Path
    picture: Path
    data: Path | None


def table(runs: Sequence[Run], first: str) -> list[str]:
    """Rows of Markdown with accuracy, interval and seconds."""
    lines = [f"| {first} | test accuracy (95% interval) | seconds |", "|---|---|---|"]
    for run in runs:
        share, low, high = run.accuracy
        lines.append(f"| {run.label} | {share:.3f} ({low:.3f} to {high:.3f}) | {run.seconds:.0f} |")
    return lines


def facts(run: Run, name: str) -> float:
    """A number of the network, from run.json: ``parameters`` or ``macs``."""
    return float(json.loads((run.folder / "run.json").read_text(encoding="utf-8"))["facts"]["network"][name])


def lenet(given: Given) -> list[str]:
    """LeNet on Fashion-MNIST, one change at a time."""
    labels = [
        "the blog's recipe",
        "+ ReLU, learning rate 0.1",
        "+ max pooling",
        "+ AdamW, one_cycle",
        "+ 16, 32 filters",
    ]
    runs = read_sweep(given.root, "lab_lenet", [f"{label}, 2 epochs" for label in labels])
    runs.insert(0, read_run(given.root / LOGS / "blog", "the blog's recipe, 10 epochs"))
    pictures.intervals(runs, given.picture, {"printed in the blog": 0.775, "lenet_fashion_mnist, 10 epochs": 0.906})
    return table(runs, "recipe")


def hand(given: Given) -> list[str]:
    """A convolution by hand and torch's: the same curves, and what they cost."""
    names = ["hand", "torch"]
    runs = read_sweep(given.root, "lab_hand", names)
    seconds = convolution_seconds()
    pictures.same_curves(runs, seconds, given.picture)
    rows = [f"| {name} | {value * 1000:,.3g} |" for name, value in seconds.items()]
    return [*table(runs, "convolution"), "", "| convolution | ms for an image |", "|---|---|", *rows]


def convolution_seconds(images: int = 64) -> dict[str, float]:
    """Seconds for one image of 3 x 32 x 32 and 32 kernels of 3 x 3, forward: the median of nine, or one, of loops."""
    x, weight = torch.randn(images, 3, 32, 32), torch.randn(32, 3, 3, 3)

    def timed(run: Callable[[], object], count: int, times: int) -> float:
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            run()
            taken.append((time.perf_counter() - began) / count)
        return sorted(taken)[times // 2]

    return {
        "torch": timed(lambda: torch.conv2d(x, weight), images, 9),
        "by hand: slices": timed(lambda: conv2d(x, weight), images, 9),
        "by hand: loops": timed(lambda: conv2d_loops(x[:1], weight), 1, 1),
    }


def vehicles(given: Given) -> list[str]:
    """Depth, kernel, batch size and learning rate on 18 test photos."""
    labels = [
        "3 layers, 3x3, batch 16, lr 0.001", "1 layer", "5 layers", "kernels 5x5", "batch 50", "lr 0.01", "lr 0.0001",
        "seed 43", "seed 44",
    ]  # fmt: skip
    runs = read_sweep(given.root, "lab_vehicles", labels)
    runs.append(read_run(given.root / LOGS / "mlp", "MLP"))
    pictures.intervals(runs, given.picture, {"guessing": 1 / 3})
    return table(runs, "network")


def googlenet(given: Given) -> list[str]:
    """The gradient along GoogLeNet with each weight of its auxiliary heads."""
    assert given.data is not None
    weights = (0.0, 0.3, 1.0)
    names = {"googlenet": "without BN", "googlenet_bn": "with BN"}
    runs = read_sweep(given.root, "lab_googlenet", [f"{names[n]}, weight {w:g}" for n in names for w in weights])
    data, classes = gradients.batches(given.data, 80), len(list(given.data.iterdir()))
    measured: dict[str, dict[str, list[float]]] = {title: {} for title in names.values()}
    lines = [
        *table(runs, "network"),
        "",
        "| network | weight | conv1 | 3a | 4a | 4e | 5b |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, title), weight in itertools.product(names.items(), weights):
        found = gradients.relative_gradient(gradients.untrained(name, classes), data, weight)
        measured[title][f"weight {weight:g}"] = found
        by_stage = dict(zip(gradients.STAGES, found, strict=True))
        shown = [by_stage[stage] for stage in ("conv1", "inception3a", "inception4a", "inception4e", "inception5b")]
        lines.append(f"| {title} | {weight:g} | " + " | ".join(f"{value:.2g}" for value in shown) + " |")
    pictures.gradients(measured, [s.removeprefix("inception") for s in gradients.STAGES], given.picture)
    return lines


def line_of_paths(kernel: int, dilations: Sequence[int]) -> np.ndarray:
    """Paths from each pixel of a line to one unit of a stack of convolutions, int64 (side,)."""
    line = np.ones(1, dtype=np.int64)
    for spacing in dilations:
        taps = np.zeros(spacing * (kernel - 1) + 1, dtype=np.int64)
        taps[::spacing] = 1
        line = np.convolve(line, taps)
    return line


def dilation(given: Given) -> list[str]:
    """Dilations 1-1-1, 1-2-5 and 2-2-2: accuracy, and the pixels that are read."""
    stacks = [(1, 1, 1), (1, 2, 5), (2, 2, 2)]
    runs = read_sweep(given.root, "lab_dilation", ["-".join(map(str, stack)) for stack in stacks])
    maps, lines = {}, ["| dilations | test accuracy (95% interval) | seconds | window | pixels never read |"]
    lines.append("|---|---|---|---|---|")
    for stack, run in zip(stacks, runs, strict=True):
        line = line_of_paths(3, stack)
        paths = np.outer(line, line)
        side, missed = len(line), int((paths == 0).sum())
        share, low, high = run.accuracy
        maps[f"{run.label}: {side}x{side}\naccuracy {share:.3f} ({low:.3f}-{high:.3f})"] = paths.tolist()
        interval = f"{share:.3f} ({low:.3f} to {high:.3f})"
        lines.append(f"| {run.label} | {interval} | {run.seconds:.0f} | {side}x{side} | {missed} of {side * side} |")
    pictures.gridding(maps, given.picture)
    return lines


def transfer(given: Given) -> list[str]:
    """EfficientNet-Lite0 with and without ImageNet weights, by the number of images."""
    counts = {"head alone": [10, 50, 144], "all layers": [10, 144], "all layers, falling rates": [144]}
    labels = [f"{way}, {count} a class" for way, numbers in counts.items() for count in numbers]
    runs = read_sweep(given.root, "lab_transfer", labels)
    runs += read_sweep(given.root, "lab_scratch", ["no weights, 144 a class"])
    counts["no weights"] = [144]
    each = iter(runs)
    lines = {way: {count: next(each) for count in numbers} for way, numbers in counts.items()}
    pictures.by_images(lines, {"GoogLeNet from scratch, 10 epochs": 0.494}, given.picture)
    return table(runs, "what is trained")


def dehazing(given: Given) -> list[str]:
    """AOD-Net with three losses, and SRCNN."""
    runs = read_sweep(given.root, "lab_dehazing", ["AOD-Net, L1", "AOD-Net, MSE", "AOD-Net, L1 and SSIM"])
    runs.append(read_run(given.root / LOGS / "srcnn", "SRCNN, L1"))
    values = {"hazy photos": (runs[0].metrics["test/psnr_input"], runs[0].metrics["test/ssim_input"])}
    values |= {run.label: (run.metrics["test/psnr"], run.metrics["test/ssim"]) for run in runs}
    pictures.two_scores(values, ("PSNR, dB", "SSIM"), given.picture)
    times = ["", *(f"{run.seconds:.0f}" for run in runs)]
    rows = [f"| {n} | {p:.2f} | {s:.3f} | {t} |" for (n, (p, s)), t in zip(values.items(), times, strict=True)]
    return ["| network and loss | PSNR, dB | SSIM | seconds |", "|---|---|---|---|", *rows]


def depth(given: Given) -> list[str]:
    """Plain and residual networks of 20 and 56 layers."""
    runs = read_sweep(given.root, "lab_depth", ["plain, 20", "residual, 20", "plain, 56", "residual, 56"])
    groups = {"20 layers": runs[:2], "56 layers": runs[2:]}
    pictures.curves(groups, ("train/loss", "val/loss"), given.picture)
    return table(runs, "network, layers")


def families(given: Given) -> list[str]:
    """Families of networks, trained on the same images."""
    labels = ["three convolutions", "NiN", "GoogLeNet with BN", "ResNet-20", "DenseNet, small"]
    runs = read_sweep(given.root, "lab_families", labels)
    points = {run.label: (facts(run, "parameters"), run.seconds, run) for run in runs}
    pictures.scatter(points, ("parameters", "seconds of training"), given.picture)
    lines = table(runs, "network")
    sizes = [f" {facts(run, 'parameters'):,.0f} | {facts(run, 'macs') / 1e6:,.1f} |" for run in runs]
    heads = [" parameters | million multiply-accumulates |", "---|---|"]
    return [line + more for line, more in zip(lines, [*heads, *sizes], strict=True)]


PAGES: dict[str, Callable[[Given], list[str]]] = {
    "lenet": lenet, "hand": hand, "vehicles": vehicles, "googlenet": googlenet, "dilation": dilation,
    "transfer": transfer, "dehazing": dehazing, "depth": depth, "families": families,
}  # fmt: skip
