"""Seeds as pure functions of where a run is."""

from __future__ import annotations


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
