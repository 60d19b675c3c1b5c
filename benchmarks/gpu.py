"""Everything about a GPU in one command of under eight minutes: ``python -m benchmarks.gpu``.

Steps of lit-cnn (ResNet-18 with the CIFAR stem) in each precision and compiled, each in turns with a bare loop in
bfloat16 and channels_last whose batch is on the device already; the training and test of configs/speedrun_cifar.yaml;
and whether a killed and resumed run ends with the bits of one that was not killed, with ``--deterministic`` and
without. Without ``--data-dir`` images are made up, which changes no time. On a CPU the sizes are small: the figures
mean nothing then, but all of it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.step import OURS, Turns
from benchmarks.time_to_accuracy import measure
from benchmarks.turns import Bare, made_up, write
from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command
from lit_cnn.data import CIFAR10
from lit_cnn.models import get_model

REFERENCE = "bare loop, bf16"
RUNS = {
    "float32": ["--precision=32-true"],
    "float16": ["--precision=16-mixed"],
    "bfloat16": ["--precision=bf16-mixed"],
    "bfloat16, EMA and mixup": ["--precision=bf16-mixed", "--model.ema_decay=0.999", "--model.mixup_alpha=0.2"],
    "bfloat16, compiled": ["--precision=bf16-mixed", "--model.compile=true"],
}
SIZES = {"cuda": {"batch": 512, "steps": 20, "turns": 5}, "cpu": {"batch": 8, "steps": 1, "turns": 2}}
PARTS = ("step", "speedrun", "resume")
LIMIT = 480.0  # seconds


def clock(device: str) -> float:
    """Seconds at which everything queued so far is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def steps(device: str, name: str) -> str:
    """Compare steps of a run of ``RUNS`` with the bare loop."""
    sizes = SIZES[device]
    image = torch.randn(sizes["batch"], 3, 32, 32, device=device)
    target = torch.arange(sizes["batch"], device=device) % 10
    network = get_model("resnet18", num_classes=10, in_channels=3, stem="cifar")
    bare = Bare(network, channels_last=True, bf16=True, device=device)
    turns = Turns({REFERENCE: lambda: bare(image, target)}, sizes["steps"], lambda: clock(device))
    batches = sizes["steps"] * (sizes["turns"] + 2)
    with tempfile.TemporaryDirectory() as folder, made_up(2 * batches * sizes["batch"]):
        words = [
            "fit", "--data=FashionMNIST", "--data.channels=3", "--img-size=32", "--data.augment.crop_padding=4",
            "--data.augment.flip=0.5", f"--batch-size={sizes['batch']}", "--model.backbone=resnet18",
            "--model.backbone_args.stem=cifar", "--lr=0.01", f"--trainer.accelerator={device}", "--trainer.devices=1",
            "--epochs=1", f"--trainer.limit_train_batches={batches}", "--trainer.limit_val_batches=1",
            f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false", *RUNS[name],
        ]  # fmt: skip
        run_command(parse(words), callbacks=[turns])
    ours, theirs = (statistics.median(turns.seconds[which]) for which in (OURS, REFERENCE))
    ratio = statistics.median(a / b for a, b in zip(*turns.seconds.values(), strict=True))
    return f"{sizes['batch'] / ours:,.0f} img/s; bare loop {sizes['batch'] / theirs:,.0f} ({ratio:.2f} of ours)"


@contextlib.contextmanager
def made_up_cifar(count: int) -> Iterator[None]:
    """Let CIFAR-10 have ``count`` random images."""
    image = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with mock.patch.object(CIFAR10, "read", return_value=(image, torch.arange(count) % 10)):
        yield


def speedrun(device: str, data_dir: str | None) -> str:
    """Train and test by configs/speedrun_cifar.yaml."""
    words = [f"--trainer.accelerator={device}", "--trainer.devices=1"]
    if device == "cpu":
        words += ["--epochs=1", "--batch-size=64", "--model.lr_stop=null"]
    with made_up_cifar(50_000 if device == "cuda" else 400) if data_dir is None else contextlib.nullcontext():
        words += [f"--data.data_dir={data_dir}"] if data_dir is not None else []
        found = measure("configs/speedrun_cifar.yaml", 0, words)
    accuracy = f"accuracy {found['accuracy']:.4f}" if data_dir is not None else "images made up"
    return f"{found['seconds']:.1f} s, test {found['test_seconds']:.1f} s with starting up; {accuracy}"


def resume(device: str, flags: Sequence[str]) -> str:
    """What ``--verify_resume`` says."""
    backbone = ["--model.backbone=resnet18", "--model.backbone_args.stem=cifar"] if device == "cuda" else []
    words = [
        "fit", "--config=lenet_digits", *backbone, f"--trainer.accelerator={device}", "--trainer.devices=1",
        "--verify_resume", *flags,
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "lit_cnn", *words], capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    verdicts = [line for line in lines if line.startswith(("identical", "different"))]
    return (verdicts or lines or ["no message"])[-1]


def main(args: Sequence[str] | None = None) -> None:
    """Print a row for each measurement, and write them as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=SIZES, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (all)")
    parser.add_argument("--data-dir", metavar="DIR", help="where CIFAR-10 is; without it, images are made up")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results to this file as well")
    given = parser.parse_args(args)
    rows: dict[str, Callable[[], str]] = {}
    if "step" in given.parts:
        rows |= {f"step, {name}": partial(steps, given.device, name) for name in RUNS}
    if "speedrun" in given.parts:
        rows["speedrun"] = lambda: speedrun(given.device, given.data_dir)
    if "resume" in given.parts:
        rows["resume"] = lambda: resume(given.device, [])
        rows["resume, --deterministic"] = lambda: resume(given.device, ["--deterministic"])
    began, found = time.perf_counter(), {}
    for name, run in rows.items():
        late = time.perf_counter() - began > LIMIT - 60 and given.device == "cuda"
        try:
            found[name] = "left out: no time" if late else run()
        except (Exception, SystemExit) as error:  # the other rows still count
            found[name] = f"failed: {type(error).__name__}: {error}"
    card = torch.cuda.get_device_name() if given.device == "cuda" else "CPU, small sizes"
    print(f"\n{card}, torch {torch.__version__}, {time.perf_counter() - began:.0f} s")
    for name, text in found.items():
        print(f"{name:32} {text}")
    record: dict[str, Any] = {"card": card, "torch": torch.__version__, "rows": found}
    write(given.json, record)


if __name__ == "__main__":
    main()
