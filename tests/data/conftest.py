"""Small data that the tests make themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from .helpers import pixels


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIT_CNN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes ``{"train/cat": 3, ...}`` as images of differing sizes and returns the folder."""

    def make(counts: dict[str, int], suffix: str = ".png", root: Path = tmp_path / "set") -> Path:
        root.mkdir(exist_ok=True)
        for name, count in counts.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                seed = int.from_bytes(hashlib.sha256(f"{name}/{i}".encode()).digest()[:4], "little")
                image = Image.fromarray(pixels(seed, 20 + i % 3, 24 + i % 5))
                image.save(root / name / f"{i:03d}{suffix}")
        return root

    return make
