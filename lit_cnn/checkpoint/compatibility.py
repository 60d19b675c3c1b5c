"""The resume key: what decides the order and the pixels of the samples, and the bits of what is computed from them.

A resume with another order is refused. Another device, torch version or precision is allowed, and named.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from lightning.pytorch import Trainer

from lit_cnn.utils.datamodule import datamodule

# Values of entries that checkpoints of earlier versions do not have.
LATER = {
    "augment.transform": None,
    "augment.transform_args": None,
    "augment.policy": None,
    "augment.policy_args": None,
    "augment.progressive_size": 0.0,
    "sampling": "natural",
    "value_range": None,
}
NAMES = {  # of entries of the key, in messages
    "batch_size": "batch size",
    "world_size": "number of processes",
    "samples": "training images",
    "fingerprint": "images (hash)",
    "split": "split (hash)",
    "data": "data set",
    "value_range": "range of values",
    "crops": "random crops are cut from",
    "shard_window": "shards mixed at a time",
    "accumulate_grad_batches": "accumulated batches",
    "limit_train_batches": "limit of training batches",
    "threads": "CPU threads",
    "benchmark": "cuDNN benchmark",
    "cache_features": "cached features",
}
# these decide bits, not samples
NUMERICS = ("device", "threads", "torch", "precision", "deterministic", "benchmark", "cache_features")


def resume_key(trainer: Trainer) -> dict[str, Any]:
    """Everything that a resumed run must have in common with the stopped one, flat, as plain types."""
    data = datamodule(trainer)
    augment = {f"augment.{name}": _plain(value) for name, value in dataclasses.asdict(data.augment).items()}
    return {
        "data": type(data).__name__,
        **data.train_dataloader().state_dict(),
        **{name: _plain(value) for name, value in data.preprocessing().items()},
        **augment,
        **data.order(),
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "limit_train_batches": trainer.limit_train_batches,
        **_numerics(trainer),
    }


def _numerics(trainer: Trainer) -> dict[str, Any]:
    """What decides the bits of the same computation on the same samples, as plain types."""
    device = trainer.strategy.root_device
    found = {"device": device_name(device), "torch": str(torch.__version__), "precision": str(trainer.precision)}
    settings = trainer.lightning_module.hparams
    if settings.get("freeze") is not None:  # features of other batches may differ in their last bits
        found["cache_features"] = str(settings.get("cache_features", False) is not False)
    if device.type == "cpu":  # sums are split over threads; the other two change no bits
        return {**found, "threads": torch.get_num_threads()}
    deterministic: bool | str = torch.are_deterministic_algorithms_enabled()
    if torch.is_deterministic_algorithms_warn_only_enabled():
        deterministic = "warn"
    return {**found, "deterministic": deterministic, "benchmark": torch.backends.cudnn.benchmark}


def device_name(device: torch.device) -> str:
    """Such as ``NVIDIA H100 80GB HBM3``, or ``CPU (AVX512)``."""
    if device.type == "cpu":
        return f"CPU ({torch.backends.cpu.get_cpu_capability()})"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def needed_to_repeat(key: dict[str, Any]) -> str:
    """The setting without which runs with this resume key can differ in bits; ``""`` on CPUs."""
    if "deterministic" not in key:
        return ""
    if key["deterministic"] is not True:
        return "`trainer.deterministic=true`"
    return "`trainer.benchmark=false`" if key["benchmark"] else ""


def incompatibilities(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One piece of text for each difference in the samples, such as ``batch size 64 -> 32``."""
    return _differences({**LATER, **before}, {k: v for k, v in now.items() if k not in NUMERICS})


def other_numerics(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One piece of text for each difference in the bits, such as ``torch 2.13.0 -> 2.14.0``."""
    return _differences(before, {k: now[k] for k in NUMERICS if k in now})


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [f"{NAMES.get(k, k)} {before[k]} -> {v}" for k, v in now.items() if k in before and before[k] != v]


def rescale_progress(checkpoint: dict[str, Any], before: dict[str, Any], now: dict[str, Any], by_epochs: bool) -> None:
    """Rescale a checkpoint's progress in the epoch to another batch size or number of ranks, as nearly as possible.

    Args:
        checkpoint: changed in place: the number of batches done becomes the one that holds about as many samples.
        before: resume key that the checkpoint was saved with.
        now: resume key of the resumed run.
        by_epochs: the run ends after a number of epochs, so that its schedule has another number of steps now.
    """
    fit_loop = checkpoint["loops"]["fit_loop"]
    loaders = fit_loop["state_dict"].get("combined_loader")
    if loaders:  # the loader compares it with its own; incompatibilities() has done that before
        fit_loop["state_dict"]["combined_loader"] = [{k: now[k] for k in state} for state in loaders]
    sizes = ("batch_size", "world_size", "accumulate_grad_batches")
    if not all(key in before for key in sizes):
        return
    if by_epochs:
        share = math.prod(before[key] for key in sizes) / math.prod(now[key] for key in sizes)
        for schedule in checkpoint.get("lr_schedulers", []):
            schedule["last_epoch"] = round(schedule["last_epoch"] * share)  # steps, as they are counted now
    current = fit_loop["epoch_loop.batch_progress"]["current"]
    done = current["ready"]
    size = now["batch_size"] * now["world_size"]
    fitting = done * before["batch_size"] * before["world_size"] // size
    fitting = min(fitting, max(0, now["samples"] // size - 1))
    fitting -= fitting % now["accumulate_grad_batches"]
    for key in current:
        current[key] += fitting - done


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
