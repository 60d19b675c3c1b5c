from __future__ import annotations

import pytest

from lit_cnn.checkpoint.interval import Every
from lit_cnn.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, Every(epochs=1)),
        (500, Every(steps=500)),
        ("500", Every(steps=500)),
        ("20 steps", Every(steps=20)),
        ("5m", Every(seconds=300)),
        ("90s", Every(seconds=90)),
        ("2h", Every(seconds=7200)),
        ("10 Minutes", Every(seconds=600)),
        ("3epochs", Every(epochs=3)),
        ("1 epoch", Every(epochs=1)),
    ],
)
def test_steps_times_and_epochs_are_read(text: str | int | None, expected: Every) -> None:
    assert Every.parse(text) == expected


@pytest.mark.parametrize("text", ["0", "-5", "5 apples", "m", "1.5h", "", 0])
def test_anything_else_is_refused_with_the_forms(text: str | int) -> None:
    with pytest.raises(UserError, match=r"--checkpoint_every .*expected 500 \(optimizer steps\), 5m"):
        Every.parse(text)
