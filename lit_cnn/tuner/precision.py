"""``--trainer.precision auto``: the fastest precision that computes right on this machine, found before a run is built.

It is not the default: results would then depend on the machine that a command happens to run on, and small networks
gain nothing by it (LeNet's epoch takes as long in bfloat16: ``python -m benchmarks.epoch --precision=bf16-mixed``).
"""

from __future__ import annotations

import time
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jsonargparse import Namespace
from lightning.fabric.connector import _PRECISION_INPUT
from lightning.pytorch import Trainer
from torch import Tensor

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.distributed import fsdp
from lit_cnn.tuner.auto import AUTO, settled

FLOAT32 = "32-true"
GAIN = 1.1  # bfloat16 must be faster by this factor: less is noise, and exactness is worth more
ERROR = 0.02  # largest distance from float32's results, relative to their norm; bfloat16 rounds by 0.4%
REPEATS = 6  # the fastest of these counts: other programs only ever slow one down
CHANNELS, SIDE = 128, 16  # of a middle layer of a ResNet for 32-pixel images
IMAGES = {"cpu": 2}  # some milliseconds a pass
MANY_IMAGES = 256  # of a GPU, which fewer would leave idle


class AutoTrainer(Trainer):
    """Lightning's trainer, whose precision may also be ``auto`` until a command has settled it.

    Args:
        precision: 32-true, bf16-mixed, 16-mixed, …; "auto": the fastest that a short trial shows to be right here.
    """

    def __init__(self, *args: Any, precision: _PRECISION_INPUT | Literal["auto"] | None = None, **kwargs: Any) -> None:
        if precision == "auto":
            raise ValueError("precision auto is settled by lit_cnn.tuner.precision.settle, before a trainer is built")
        super().__init__(*args, precision=precision, **kwargs)


def settle(config: Namespace, record: CheckpointRecord | None) -> None:
    """Put a precision in the place of ``trainer.precision: auto``, and say which and why."""
    options = config.trainer
    if options.precision == AUTO:
        options.precision = settled("trainer.precision", options, record, _stored, lambda: _search(options))


def _stored(record: CheckpointRecord) -> str:
    return record.config["trainer"].get("precision") or FLOAT32


def _search(options: Namespace) -> tuple[str, str]:
    layout = Trainer(  # a trainer like the run's, only to learn which device it takes
        accelerator=options.accelerator,
        devices=options.devices,
        strategy=fsdp.strategy_of(options.strategy),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    return choose(layout.strategy.root_device)


class Outcome(NamedTuple):
    """How a convolution in lower precision compares with the same in float32."""

    gain: float  # float32's time divided by its own
    error: float  # distance of the results divided by their norm


def choose(device: torch.device) -> tuple[str, str]:
    """The precision for ``device`` in Lightning's words, and why."""
    name, dtype = "bf16-mixed", torch.bfloat16
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name, dtype = "16-mixed", torch.float16  # with loss scaling, which Lightning adds
    what = "bfloat16" if dtype is torch.bfloat16 else "float16"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine threads wait for each other, which says nothing about precisions
    try:
        found = probe(device, dtype)
    except (RuntimeError, NotImplementedError) as error:
        return FLOAT32, f"{device} computes no convolution in {what}: {str(error).splitlines()[0]}"
    finally:
        torch.set_num_threads(threads)
    told = f"a convolution in {what} on {device} is {found.gain:.1f} times as fast as in float32"
    if not found.error <= ERROR:  # also not a number
        return FLOAT32, f"{told} but wrong by {found.error:.1%}"
    if found.gain < GAIN:
        return FLOAT32, told
    return name, f"{told}, and differs by {found.error:.1%}"


def probe(device: torch.device, dtype: torch.dtype) -> Outcome:
    """Compare a 3x3 convolution, forwards and backwards, in float32 and under autocast; some tens of milliseconds."""
    generator = torch.Generator().manual_seed(0)  # a run's own random numbers are not touched
    images = IMAGES.get(device.type, MANY_IMAGES)
    x = torch.randn(images, CHANNELS, SIDE, SIDE, generator=generator)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, generator=generator) / (9 * CHANNELS) ** 0.5
    x, weight = (t.to(device, memory_format=torch.channels_last).requires_grad_() for t in (x, weight))
    seconds: dict[bool, list[float]] = {False: [], True: []}
    results: dict[bool, list[Tensor]] = {}
    for turn in range(REPEATS + 1):
        for lower in (False, True):
            _wait(device)
            began = time.perf_counter()
            with torch.autocast(device.type, dtype, enabled=lower):
                y = F.conv2d(x, weight, padding=1)
            gradients = torch.autograd.grad(y.float().square().mean(), (x, weight))
            _wait(device)
            if turn:  # the first one chooses kernels
                seconds[lower].append(time.perf_counter() - began)
            results[lower] = [t.detach().float() for t in (y, *gradients)]
    errors = [float((a - b).norm() / a.norm()) for a, b in zip(results[False], results[True], strict=True)]
    error = max(errors) if all(e == e for e in errors) else float("nan")
    return Outcome(min(seconds[False]) / min(seconds[True]), error)


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
