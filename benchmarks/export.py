"""Speed and size of exported files on this CPU: ``python -m benchmarks.export --threads 1``.

Every format against the network in torch, the same compiled, and the ONNX file of timm's own exporter (timm.utils.onnx,
which leaves normalization and softmax out). The networks have random weights, and the images are resized already. All
take turns, so that a busy machine slows all; the time of an image is the median over the turns, between quartiles.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.turns import write
from lit_cnn.export.formats import FORMATS
from lit_cnn.export.graph import ExportGraph, ImageGraph
from lit_cnn.export.int8 import quantize
from lit_cnn.export.restoration import RestorationGraph
from lit_cnn.models import get_model

CLASSES = 5
# height and width, channels
NETWORKS = {
    "lenet": (28, 1),
    "resnet18": (224, 3),
    "googlenet": (224, 3),
    "densenet121": (224, 3),
    "timm/tf_efficientnet_lite0": (224, 3),
    "unet": (128, 3),
}
Run = Callable[[np.ndarray], Any]


class Entry(NamedTuple):
    """Something that takes turns: images uint8 (N, H, W, C) are given to ``run``; ``mb``: size of its file."""

    run: Run
    mb: float | None = None


def graph_of(name: str) -> ImageGraph:
    """The graph that is exported, with random weights."""
    side, channels = NETWORKS[name]
    torch.manual_seed(0)
    if name == "unet":
        return RestorationGraph(get_model(name, num_classes=channels)).eval().requires_grad_(False)
    network = get_model(name, num_classes=CLASSES, in_channels=channels).eval()
    preprocessing = {"image_size": side, "channels": channels, "mean": [0.5] * channels, "std": [0.5] * channels}
    return ExportGraph(network, preprocessing, "resized").eval().requires_grad_(False)


def in_torch(module: Callable[[Tensor], Tensor]) -> Run:
    """A runner of a graph in torch."""

    def run(images: np.ndarray) -> Tensor:
        with torch.inference_mode():
            return module(torch.from_numpy(images))

    return run


def by_timm(network: nn.Module, side: int, channels: int, path: Path) -> Entry:
    """The file of timm's exporter; it takes images that are normalized already, float (N, C, H, W)."""
    import onnxruntime
    from timm.utils.onnx import onnx_export

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        onnx_export(network, str(path), torch.rand(2, channels, side, side), check=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    floats: dict[int, np.ndarray] = {}

    def run(images: np.ndarray) -> Any:
        given = floats.setdefault(len(images), np.random.rand(len(images), channels, side, side).astype(np.float32))
        return session.run(None, {session.get_inputs()[0].name: given})

    return Entry(run, path.stat().st_size / 1e6)


def entries(name: str, folder: Path, compiled: bool) -> dict[str, Entry]:
    """All that take turns, by name."""
    side, channels = NETWORKS[name]
    graph = graph_of(name)
    example = torch.randint(0, 256, (2, side, side, channels), dtype=torch.uint8)
    found: dict[str, Entry] = {}
    for key, form in FORMATS.items():
        path = folder / f"net{form.suffix}"
        form.write(graph, example, {0: "batch"}, path)
        files = [path, *(path.with_suffix(suffix) for suffix in form.beside)]
        found[key] = Entry(form.open(path), sum(file.stat().st_size for file in files) / 1e6)
    if name != "unet":
        quantized = folder / "int8.onnx"
        quantize(folder / "net.onnx", quantized, example.numpy())
        found["onnx, 8 bits"] = Entry(FORMATS["onnx"].open(quantized), quantized.stat().st_size / 1e6)
    with contextlib.suppress(ImportError):  # timm is an extra: the others take turns without it
        found["timm's ONNX"] = by_timm(graph.network, side, channels, folder / "timm.onnx")
    graph.network.to(memory_format=torch.channels_last)  # as predict has it
    first = {"torch": Entry(in_torch(graph))}
    if compiled:
        first["torch.compile"] = Entry(in_torch(torch.compile(graph, dynamic=False)))
    return first | found


def milliseconds(runs: dict[str, Run], images: np.ndarray, turns: int, calls: int) -> dict[str, list[float]]:
    """Time of an image in each turn, of every runner."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):  # the first one warms up
        for name, run in runs.items():
            began = time.perf_counter()
            for _ in range(calls):
                run(images)
            if turn:
                times[name].append(1000 * (time.perf_counter() - began) / calls / len(images))
    return times


def cell(times: Sequence[float], reference: Sequence[float]) -> str:
    """Median between quartiles, and the median ratio to the reference of the same turns."""
    low, middle, high = statistics.quantiles(times, n=4)
    ratio = statistics.median(a / b for a, b in zip(times, reference, strict=True))
    return f"{middle:9.2f} ({low:.2f}-{high:.2f}) {ratio:5.2f}"


def main(words: Sequence[str] | None = None) -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--turns", type=int, default=7, help="at least 2")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out, which needs a C++ compiler")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results to this file as well")
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    logging.getLogger("torch").setLevel(logging.ERROR)
    print(f"torch {torch.__version__}, {options.threads} threads; ms an image (quartiles), ratio to torch")
    results: dict[str, Any] = {}
    for name in options.networks:
        side, channels = NETWORKS[name]
        with tempfile.TemporaryDirectory() as folder:
            found = entries(name, Path(folder), not options.no_compile)
            runs = {key: entry.run for key, entry in found.items()}
            times = {}
            for batch in options.batches:
                pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, channels), dtype=np.uint8)
                times[batch] = milliseconds(runs, pixels, options.turns, max(1, 8 // batch))
        print(f"\n{name}, {side} x {side}")
        print(f"{'':14} {'MB':>7}" + "".join(f"{f'batch {batch}':>34}" for batch in options.batches))
        for key, entry in found.items():
            size = "" if entry.mb is None else f"{entry.mb:.2f}"
            cells = "".join(f"{cell(times[batch][key], times[batch]['torch']):>34}" for batch in options.batches)
            print(f"{key:14} {size:>7}{cells}", flush=True)
        results[name] = {
            key: {"mb": entry.mb, **{str(b): times[b][key] for b in times}} for key, entry in found.items()
        }
    write(options.json, results)


if __name__ == "__main__":
    main()
