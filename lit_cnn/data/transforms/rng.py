"""Counter-based random numbers: pure functions of (seed, epoch, sample index, operation).

No generator has a state: a random number is a hash of its coordinates (``lit_cnn.utils.random.splitmix64``), so a
sample gets the same augmentation whatever the batch size, the rank, the number of threads or the step that a run was
resumed from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from lit_cnn.utils.files import digest
from lit_cnn.utils.random import GOLDEN_GAMMA, splitmix64

_ATTEMPTS = 10  # torchvision's RandomResizedCrop and RandomErasing both try ten boxes before they give up


@lru_cache(maxsize=4096)
def _key(seed: int, epoch: int, op: str) -> int:
    key = int.from_bytes(bytes.fromhex(digest(op)), "little")
    for part in (seed, epoch):
        key = splitmix64(key + GOLDEN_GAMMA + part)
    return key


@lru_cache(maxsize=256)
def _keys(seed: int, epoch: int, ops: tuple[str, ...], device: torch.device) -> Tensor:
    # Cached because a new tensor per batch would cost a copy to the device each time.
    return torch.tensor([_key(seed, epoch, op) for op in ops], dtype=torch.int64, device=device)


def counter_bits(seed: int, epoch: int, index: Tensor, ops: Sequence[str]) -> Tensor:
    """Return 64 random bits as int64 (len(ops), N) for ``index``, int64 (N,); the same on every device."""
    keys = _keys(seed, epoch, tuple(ops), index.device)
    return splitmix64(index[None, :] * GOLDEN_GAMMA + keys[:, None])


def counter_uniform(seed: int, epoch: int, index: Tensor, op: str | Sequence[str]) -> Tensor:
    """Return uniform random numbers that depend only on the arguments.

    Args:
        seed: The run's seed.
        epoch: Number of the epoch, from 0.
        index: int64 (N,), indices of the samples.
        op: Name of the operation, or K names.

    Returns:
        float32 in [0, 1), multiples of 2^-24: (N,) for one name, (K, N) for a sequence of names.
    """
    bits = counter_bits(seed, epoch, index, [op] if isinstance(op, str) else op)
    uniform = ((bits >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24
    return uniform[0] if isinstance(op, str) else uniform


def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """Return the order of epoch ``epoch``: int64 (n,), a permutation of 0..n-1.

    It sorts hashes instead of calling ``torch.randperm`` so that it does not depend on torch's version.
    """
    return torch.argsort(counter_bits(seed, epoch, torch.arange(n), ["order"])[0], stable=True)


def shard_order(seed: int, epoch: int, shards: int) -> Tensor:
    """Return the order in which epoch ``epoch`` reads shards: int64 (shards,), a permutation of 0..shards-1."""
    return torch.argsort(counter_bits(seed, epoch, torch.arange(shards), ["shards"])[0], stable=True)


def windowed_permutation(seed: int, epoch: int, shard: Tensor, shards: int, window: int) -> Tensor:
    """Return a shuffled order of epoch ``epoch`` that needs only ``window`` shards at a time.

    The shards are permuted, and samples are shuffled within each run of ``window`` shards. With a single window the
    result equals ``permutation(seed, epoch, n)``.

    Args:
        seed: The run's seed.
        epoch: Number of the epoch, from 0.
        shard: int64 (n,), the shard of each sample.
        shards: Number of shards.
        window: Number of consecutive shards whose samples are shuffled together.

    Returns:
        int64 (n,), a permutation of 0..n-1.
    """
    position = torch.empty(shards, dtype=torch.int64)
    position[shard_order(seed, epoch, shards)] = torch.arange(shards)
    order = permutation(seed, epoch, len(shard))
    return order[torch.argsort(position[shard[order]] // window, stable=True)]


def _box_ops(what: str) -> tuple[str, ...]:
    return (*(f"{what}/{side}/{k}" for side in ("area", "ratio") for k in range(_ATTEMPTS)), f"{what}/y", f"{what}/x")


CROP_OPS = _box_ops("crop")
ERASE_OPS = _box_ops("erase")


@lru_cache(maxsize=16)
def _logs(values: tuple[float, float]) -> list[float]:
    return torch.tensor(values, dtype=torch.float64).log().tolist()


def random_boxes(
    draws: Tensor,
    height: int | Tensor,
    width: int | Tensor,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    strict: bool,
) -> tuple[Tensor, Tensor]:
    """Pick for each sample the first of ten boxes that fits.

    ``draws`` is (22, N) in [0, 1), ``height`` and ``width`` are one number or int64 (N,). Returns (N, 4) int64 ``top,
    left, height, width`` and bool (N,), whether any of the ten fitted.
    """
    device = draws.device
    draws = (draws.cpu() if device.type == "mps" else draws).to(torch.float64)  # Apple's GPUs have no float64
    area = (scale[0] + draws[:_ATTEMPTS] * (scale[1] - scale[0])) * (height * width)
    low, high = _logs(ratio)
    aspect = torch.exp(low + draws[_ATTEMPTS : 2 * _ATTEMPTS] * (high - low))
    w = (area * aspect).sqrt().round()
    h = (area / aspect).sqrt().round()
    limit = 1 if strict else 0
    fits = (w >= 1) & (h >= 1) & (w <= width - limit) & (h <= height - limit)
    first = fits.to(torch.int8).argmax(0, keepdim=True)
    w, h = w.gather(0, first)[0], h.gather(0, first)[0]
    top = (draws[2 * _ATTEMPTS] * (height - h + 1)).floor()
    left = (draws[2 * _ATTEMPTS + 1] * (width - w + 1)).floor()
    return torch.stack([top, left, h, w], dim=1).long().to(device), fits.any(0).to(device)


def crop_ratio(ratio: tuple[float, float], height: int, width: int) -> tuple[float, float]:
    """Return the aspect ratios (width / height) of random crops, which are given for a square, for another size."""
    return ratio if height == width else (ratio[0] * width / height, ratio[1] * width / height)


def crop_boxes(
    draws: Tensor, height: int | Tensor, width: int | Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Return the boxes of a random resized crop as int64 (N, 4): top, left, height, width.

    Args:
        draws: float32 (22, N) in [0, 1), from ``counter_uniform(seed, epoch, index, CROP_OPS)``.
        height: Of the images, in pixels: one number, or int64 (N,) on the CPU.
        width: Of the images, in pixels, likewise.
        scale: Smallest and largest share of the area.
        ratio: Smallest and largest width / height; log-uniform between them.

    The same distribution as torchvision's RandomResizedCrop, with its fallback: when none of ten boxes fits, the
    largest central one of an allowed ratio.
    """
    boxes, found = random_boxes(draws, height, width, scale, ratio, strict=False)
    if isinstance(height, Tensor) and isinstance(width, Tensor):
        sizes = zip(height.tolist(), width.tolist(), strict=True)
        central = torch.tensor([_central(h, w, ratio) for h, w in sizes], device=boxes.device)
    else:
        central = _central_on(int(height), int(width), tuple(ratio), boxes.device)
    return torch.where(found[:, None], boxes, central)


def crop_box(
    draws: Tensor, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Return the box that ``crop_boxes`` returns, bit for bit, for one image of float32 (22,) draws.

    Without its dozens of tensor operations, which on single numbers take longer than decoding a small image, and block
    all other threads.
    """
    wide = draws.to(torch.float64)
    low, high = _logs(ratio)
    # torch's exp and log, as others may round the last bit differently
    aspects = torch.exp(low + wide[_ATTEMPTS : 2 * _ATTEMPTS] * (high - low)).tolist()
    values = wide.tolist()
    for value, aspect in zip(values[:_ATTEMPTS], aspects, strict=True):
        area = (scale[0] + value * (scale[1] - scale[0])) * (height * width)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 1 <= w <= width and 1 <= h <= height:
            top, left = values[2 * _ATTEMPTS] * (height - h + 1), values[2 * _ATTEMPTS + 1] * (width - w + 1)
            return math.floor(top), math.floor(left), h, w
    return _central(height, width, ratio)


@lru_cache(maxsize=64)
def _central_on(height: int, width: int, ratio: tuple[float, float], device: torch.device) -> Tensor:
    # Cached because a new tensor per batch would cost a copy to the device each time.
    return torch.tensor([_central(height, width, ratio)], device=device)


def _central(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    if width / height < ratio[0]:
        h, w = min(height, max(1, round(width / ratio[0]))), width
    elif width / height > ratio[1]:
        h, w = height, min(width, max(1, round(height * ratio[1])))
    else:
        h, w = height, width
    return (height - h) // 2, (width - w) // 2, h, w
