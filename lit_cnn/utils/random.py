"""Seeds and counter-based random numbers: pure functions of the position in a run, so that a resume repeats them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

Word = TypeVar("Word", int, Tensor)

_MASK = (1 << 64) - 1
GOLDEN_GAMMA = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15, odd and nearest to 2^64 / golden ratio, as a signed int64


def as_int64(word: int) -> int:
    """Return the signed 64-bit integer with the same low 64 bits as ``word``."""
    word &= _MASK
    return word - (1 << 64) if word >> 63 else word


def splitmix64(word: Word) -> Word:
    """Mix 64 bits: the finaliser of splitmix64 (Steele et al., "Fast splittable pseudorandom number generators", 2014).

    Args:
        word: an int, of which the low 64 bits count, or an int64 tensor of any shape.

    Returns:
        The mixed bits as a signed int64, or an int64 tensor of the same shape. Equal inputs give equal outputs,
        whether int or tensor, on every device.
    """
    # torch's >> copies the sign bit, and Python's sees bits above the 64th; the masks make it a logical shift for both.
    word = (word ^ ((word >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
    word = (word ^ ((word >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB
    word = word ^ ((word >> 31) & 0x1FFFFFFFF)
    return as_int64(word) if isinstance(word, int) else word


def step_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """Return a seed of 63 bits for a training step; neighbouring steps get unrelated random streams."""
    state = 0
    for value in (seed, epoch, batch, rank):
        state = splitmix64((state ^ value) + GOLDEN_GAMMA)
    return (state & _MASK) >> 1


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on ``device`` draws from: the CPU's and the device's own.

    ``torch.manual_seed`` would seed those of every kind of device. For each kind that this process has not used it
    queues the call together with a stack trace: a millisecond a step, and memory that grows.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
