from __future__ import annotations

import pytest

from lit_cnn.checkpoint.interval import SaveInterval
from lit_cnn.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, SaveInterval(epochs=1)),
        (500, SaveInterval(steps=500)),
        ("500", SaveInterval(steps=500)),
        ("20 steps", SaveInterval(steps=20)),
        ("5m", SaveInterval(seconds=300)),
        ("90s", SaveInterval(seconds=90)),
        ("2h", SaveInterval(seconds=7200)),
        ("10 Minutes", SaveInterval(seconds=600)),
        ("3epochs", SaveInterval(epochs=3)),
        ("1 epoch", SaveInterval(epochs=1)),
    ],
)
def test_steps_times_and_epochs_are_read(text: str | int | None, expected: SaveInterval) -> None:
    assert SaveInterval.parse(text) == expected


@pytest.mark.parametrize("text", ["0", "-5", "5 apples", "m", "1.5h", "", 0])
def test_anything_else_is_refused_with_the_forms(text: str | int) -> None:
    with pytest.raises(UserError, match=r"`checkpoint_every.*expected 500 \(optimizer steps\), 5m"):
        SaveInterval.parse(text)
