"""A record of what is decoded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lit_cnn.data.cache import source


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that were decoded for a cache."""
    names: list[str] = []
    for function in ("read_bounded", "read_image"):
        real = getattr(source, function)

        def spy(path: Path, *args: object, real: Callable = real) -> object:
            names.append(path.name)
            return real(path, *args)

        monkeypatch.setattr(source, function, spy)
    return names
