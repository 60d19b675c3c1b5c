"""Seeds as pure functions of where a run is."""

from __future__ import annotations

import torch


def step_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """Mix four numbers into 63 bits, so that neighbouring steps get unrelated random streams.

    Multiply-xorshift rounds as in splitmix64 (Steele et al., "Fast splittable pseudorandom number generators", 2014).
    """
    state = 0
    for value in (seed, epoch, batch, rank):
        state = (state ^ (value & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on ``device`` draws from: the CPU's and the device's own.

    ``torch.manual_seed`` would seed those of all kinds of devices. For each kind that this process has not used it
    keeps the call, with a stack trace made for the purpose, for later: a millisecond a step, and memory that grows.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
