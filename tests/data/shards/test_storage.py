"""Shards that are missing, truncated, altered or unreachable are named; remote ones train as local ones."""

from __future__ import annotations

import functools
import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lit_cnn.data import Stream
from lit_cnn.data.shards.format import MANIFEST
from lit_cnn.data.shards.storage import RemoteStorage
from lit_cnn.errors import UserError
from lit_cnn.utils.files import file_lock
from tests.data.shards.helpers import SETTINGS, error_of, fit, interrupt, read_training


def test_a_missing_or_truncated_shard_is_named_before_training(shards: Path) -> None:
    shard = shards / "train-000002.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1000])
    assert f"{shard} has {len(content) - 1000:,} bytes instead of {len(content):,}" in error_of(shards)
    shard.unlink()
    assert f"{shard} is missing" in error_of(shards)


def test_a_shard_truncated_or_removed_during_training_is_named(shards: Path) -> None:
    shard = shards / "train-000002.tar"
    content = shard.read_bytes()
    data = Stream(data_dir=str(shards), **SETTINGS)
    data.setup("fit")
    shard.write_bytes(content[:600])
    with pytest.raises(UserError, match=r"train-000002\.tar is truncated or was changed, at .*: write or copy"):
        list(data.train_dataloader())
    shard.unlink()
    with pytest.raises(UserError, match=r"train-000002\.tar is missing"):
        list(data.train_dataloader())


def test_a_changed_image_is_named_with_its_shard_and_never_trained_on(shards: Path) -> None:
    data = Stream(data_dir=str(shards), **SETTINGS)
    index = data._index
    row = int(np.flatnonzero(index.shard == 1)[0])
    with (shards / "train-000001.tar").open("r+b") as file:
        file.seek(index.start[row] + index.size[row] // 2)
        file.write(b"\xff")
    assert f"train-000001.tar is truncated or was changed, at {index.names[row]}: write or copy" in error_of(shards)
    with pytest.raises(UserError, match="was changed"):  # by lit-cnn prepare, too
        _ = Stream(data_dir=str(shards), **SETTINGS).broken


class _Quiet(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path.lstrip("/"))
        super().do_GET()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def served(shards: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of ``shards`` on this machine, and the names of the files that were asked for."""
    asked: list[str] = []
    handler = functools.partial(type("Handler", (_Quiet,), {"asked": asked}), directory=str(shards))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_an_address_gives_the_run_of_the_folder_and_keeps_no_more_than_its_limit(
    shards: Path, served: tuple[str, list[str]]
) -> None:
    address, asked = served
    sizes = [path.stat().st_size for path in shards.glob("*.tar")]
    limit = 4 * max(sizes)
    assert limit < sum(sizes) / 2
    held: list[int] = []

    class Watching(Stream):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            assert isinstance(self._storage, RemoteStorage)
            with file_lock(self._storage._lock):  # nothing comes or goes meanwhile
                held.append(sum(path.stat().st_size for path in self._storage.copies.iterdir()))
            return super().on_after_batch_transfer(batch, dataloader_idx)

    settings = {**SETTINGS, "shard_window": 2, "normalize": "imagenet"}
    near = fit(Stream(data_dir=str(shards), **settings))
    far = fit(Watching(data_dir=address, shard_cache_gb=limit / 1e9, **settings))
    assert far.seen == near.seen
    assert 0 < max(held) <= limit
    assert set(asked) >= {path.name for path in shards.glob("train-*.tar")} | {MANIFEST}


def test_shards_that_are_kept_are_not_fetched_again(served: tuple[str, list[str]]) -> None:
    address, asked = served
    for _ in range(2):
        data = Stream(data_dir=address, **SETTINGS)
        data.setup("test")
        assert len(list(data.test_dataloader()))
    assert asked.count(MANIFEST) == 2
    assert len([name for name in asked if name.endswith(".tar")]) == len({n for n in asked if n.endswith(".tar")})


@pytest.mark.parametrize("damage", [b"", b"\0" * 3000])
def test_a_damaged_copy_is_fetched_again(damage: bytes, served: tuple[str, list[str]]) -> None:
    address, asked = served
    before = fit(Stream(data_dir=address, **SETTINGS)).seen
    asked.clear()
    data = Stream(data_dir=address, **SETTINGS)
    assert isinstance(data._storage, RemoteStorage)
    for copy in data._storage.copies.iterdir():
        copy.write_bytes(damage)
    assert fit(data).seen == before
    assert {"index.npz", "train-000000.tar"} <= set(asked)


def test_what_cannot_be_fetched_is_one_line(shards: Path, served: tuple[str, list[str]]) -> None:
    address, _ = served
    shard = shards / "train-000002.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[:-512] + b"x" * 512)
    assert "train-000002.tar is not the file that manifest.json names" in error_of(address)
    shard.unlink()
    assert "cannot fetch " in (message := error_of(address))
    assert "train-000002.tar: it is missing" in message
    assert "`data.shard_cache_gb` is 1e-05" in error_of(address, shard_cache_gb=1e-5)


def test_a_folder_needs_neither_the_network_nor_webdataset(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    monkeypatch.setattr(socket, "socket", interrupt)
    read_training(shards)
    monkeypatch.undo()
    assert "cannot fetch http://127.0.0.1:9/none/manifest.json: " in error_of("http://127.0.0.1:9/none")
