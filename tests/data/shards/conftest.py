"""A small image folder and its shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.shards.helpers import write_photos


@pytest.fixture
def photos(make_folder: Callable[..., Path]) -> Path:
    return make_folder({"cat": 13, "dog": 14, "emu": 15})


@pytest.fixture
def shards(photos: Path, tmp_path: Path) -> Path:
    """A folder with at least six shards of training images."""
    out = write_photos(photos, tmp_path / "shards")
    assert len(list(out.glob("train-*.tar"))) >= 6
    return out
