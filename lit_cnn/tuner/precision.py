"""``trainer.precision: auto``: the fastest precision that is accurate on this device, chosen before a run is built.

It is not the default: results would then depend on the machine that a command happens to run on, and small networks
gain nothing from it (LeNet's epoch takes as long in bfloat16: ``python -m benchmarks.epoch --precision=bf16-mixed``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from torch import Tensor

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.distributed import fsdp
from lit_cnn.tuner.auto import AUTO, resolve_auto
from lit_cnn.utils.console import say
from lit_cnn.utils.cpu import has_bfloat16
from lit_cnn.utils.lightning_internals import PRECISION_INPUT
from lit_cnn.utils.rank import is_rank_zero

FLOAT32 = "32-true"
MIN_SPEEDUP = 1.1  # a smaller one is noise, and not worth the accuracy
MAX_ERROR = 0.02  # distance from float32's results, relative to their norm; bfloat16 rounds by 0.4%
TURNS = 6  # the fastest one counts: other programs only ever slow one down
QUEUED = 20  # passes of a turn on a GPU: with fewer, launching kernels would count
CHANNELS, SIDE = 128, 16  # of a middle layer of a ResNet for 32-pixel images
IMAGES = {"cpu": 2}  # some milliseconds a pass
GPU_IMAGES = 256  # fewer would leave it idle


class AutoTrainer(Trainer):
    """Lightning's trainer, whose precision may also be ``auto`` until it is resolved.

    Args:
        precision: 32-true, bf16-mixed, 16-mixed, …; "auto": the fastest that a short trial shows to be right here.
    """

    def __init__(self, *args: Any, precision: PRECISION_INPUT | Literal["auto"] | None = None, **kwargs: Any) -> None:
        if precision == "auto":
            raise ValueError(
                "precision='auto' is resolved by lit_cnn.tuner.precision.resolve before a trainer is built"
            )
        super().__init__(*args, precision=precision, **kwargs)


def resolve(config: Namespace, record: CheckpointRecord | None) -> None:
    """Replace ``trainer.precision: auto``, and print the choice with the reason; say what a slow one costs."""
    options = config.trainer
    if options.precision == AUTO:
        options.precision = resolve_auto("trainer.precision", options, record, _stored, lambda: _search(options))
    elif record is None and str(options.precision).startswith("bf16"):
        _tell_cost(_device(options))


def _stored(record: CheckpointRecord) -> str:
    return record.config["trainer"].get("precision") or FLOAT32


def _search(options: Namespace) -> tuple[str, str]:
    return choose_precision(_device(options))


def _tell_cost(device: torch.device) -> None:
    """Print a line if the CPU has to convert bfloat16, and that is slower than float32."""
    if device.type != "cpu" or has_bfloat16() or not is_rank_zero():
        return
    with _one_thread():
        slower = 1 / compare_precision(device, torch.bfloat16).speedup
    if slower > MIN_SPEEDUP:
        say(
            f"note: this CPU has no instructions for bfloat16: a convolution takes {slower:.1f} times as long as in "
            "float32; `trainer.precision=auto` chooses by such a trial"
        )


def _device(options: Namespace) -> torch.device:
    same = Trainer(  # only to find out which device the run's trainer chooses
        accelerator=options.accelerator,
        devices=options.devices,
        strategy=fsdp.strategy_of(options.strategy),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    return same.strategy.root_device


class Comparison(NamedTuple):
    """A convolution in lower precision compared with float32."""

    speedup: float  # float32's time divided by its own
    error: float  # distance of the results divided by their norm


def choose_precision(device: torch.device) -> tuple[str, str]:
    """Lightning's name of the precision for ``device``, and the reason."""
    name, dtype = "bf16-mixed", torch.bfloat16
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name, dtype = "16-mixed", torch.float16  # with loss scaling, which Lightning adds
    what = "bfloat16" if dtype is torch.bfloat16 else "float16"
    try:
        with _one_thread():
            found = compare_precision(device, dtype)
    except (RuntimeError, NotImplementedError) as error:
        return FLOAT32, f"{device} computes no convolution in {what}: {str(error).splitlines()[0]}"
    why = f"a convolution in {what} on {device} is {found.speedup:.1f} times as fast as in {_float32(device)}"
    if not found.error <= MAX_ERROR:  # NaN too
        return FLOAT32, f"{why}, but its error is {found.error:.1%}"
    if found.speedup < MIN_SPEEDUP:
        return FLOAT32, why
    return name, f"{why}, and its error is {found.error:.1%}"


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine threads wait for each other, which hides the difference
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _float32(device: torch.device) -> str:
    """What convolutions of float32 are computed in: on most GPUs TF32, unless torch is told otherwise."""
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # set by a class of modules
    if device.type == "cuda" and convolutions.fp32_precision == "tf32" and torch.cuda.is_tf32_supported():
        return "float32 (computed in TF32)"
    return "float32"


def compare_precision(device: torch.device, dtype: torch.dtype) -> Comparison:
    """Time a 3x3 convolution, forward and backward, in float32 and under autocast; takes some tens of milliseconds."""
    generator = torch.Generator().manual_seed(0)  # leaves the run's random state alone
    images = IMAGES.get(device.type, GPU_IMAGES)
    x = torch.randn(images, CHANNELS, SIDE, SIDE, generator=generator)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, generator=generator) / (9 * CHANNELS) ** 0.5
    x, weight = (t.to(device, memory_format=torch.channels_last).requires_grad_() for t in (x, weight))
    seconds: dict[bool, list[float]] = {False: [], True: []}
    results: dict[bool, list[Tensor]] = {}

    def forward_and_backward(lower: bool) -> None:
        with torch.autocast(device.type, dtype, enabled=lower):
            y = F.conv2d(x, weight, padding=1)
        gradients = torch.autograd.grad(y.float().square().mean(), (x, weight))
        results[lower] = [t.detach().float() for t in (y, *gradients)]

    for turn in range(TURNS + 1):
        for lower in (False, True):
            took = _seconds(device, partial(forward_and_backward, lower))
            if turn:  # the first one selects kernels
                seconds[lower].append(took)
    errors = [float((a - b).norm() / a.norm()) for a, b in zip(results[False], results[True], strict=True)]
    error = max(errors) if all(e == e for e in errors) else float("nan")
    return Comparison(min(seconds[False]) / min(seconds[True]), error)


def _seconds(device: torch.device, function: Callable[[], None]) -> float:
    """Seconds of one call; on a GPU those of its kernels, many calls in one queue."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.device(device):
            start.record()
            for _ in range(QUEUED):
                function()
            end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000 / QUEUED
    _synchronize(device)
    began = time.perf_counter()
    function()
    _synchronize(device)
    return time.perf_counter() - began


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
