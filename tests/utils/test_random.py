"""Seeds and counter-based random numbers: known values, which old runs must repeat on resume."""

from __future__ import annotations

import torch

from lit_cnn.utils.random import GOLDEN_GAMMA, as_int64, splitmix64, step_seed

MASK = (1 << 64) - 1


def test_splitmix64_gives_its_published_outputs_for_ints_and_tensors() -> None:
    # First outputs of splitmix64 seeded with 1234567, as listed by Rosetta Code and Java's SplittableRandom.
    state, expected = 1234567, [6457827717110365317, 3203168211198807973]
    words = [as_int64(state + (i + 1) * GOLDEN_GAMMA) for i in range(2)]
    assert [splitmix64(word) & MASK for word in words] == expected
    assert [word & MASK for word in splitmix64(torch.tensor(words)).tolist()] == expected


def test_step_seeds_are_those_of_earlier_versions() -> None:
    steps = [(0, 0, 0, 0), (42, 1, 2, 3), (-1, 2**40, 7, 0), (2**63, 5, 5, 5)]
    expected = [1195769770526638388, 2295903681480754174, 5099576077433113399, 2267559719119995552]
    assert [step_seed(*step) for step in steps] == expected
