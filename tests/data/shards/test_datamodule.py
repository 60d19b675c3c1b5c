"""A set of shards trains as the folder it was written from, resumes exactly, and is complete or refused."""

from __future__ import annotations

import functools
import http.server
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_cnn.cli.main import main
from lit_cnn.data import ImageDataModule, ImageFolder, Stream
from lit_cnn.data.shards.format import MANIFEST, write_shards
from lit_cnn.data.shards.storage import RemoteStorage
from lit_cnn.errors import UserError
from lit_cnn.utils.files import file_lock
from tests.data.helpers import Recorder, make_trainer

SETTINGS: dict[str, Any] = {"batch_size": 4, "image_size": 12, "workers": 0, "normalize": "computed"}
EPOCHS = 3


@pytest.fixture
def photos(make_folder: Callable[..., Path]) -> Path:
    return make_folder({"cat": 13, "dog": 14, "emu": 15})


def _write(photos: Path, out: Path, shard_bytes: int = 8_000) -> Path:
    data = ImageFolder(data_dir=str(photos), **SETTINGS)
    parts = data.splits()
    write_shards(out, parts["train"].source, parts, data.class_names, shard_bytes)  # type: ignore[arg-type]
    return out


@pytest.fixture
def shards(photos: Path, tmp_path: Path) -> Path:
    """A folder with at least six shards of training images."""
    out = _write(photos, tmp_path / "shards")
    assert len(list(out.glob("train-*.tar"))) >= 6
    return out


def _fit(data: ImageDataModule, checkpoint: Path | None = None, folder: Path | None = None) -> Recorder:
    model = Recorder(3 * 12 * 12, data.num_classes)
    callbacks = [] if folder is None else [ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)]
    trainer = make_trainer(max_epochs=EPOCHS, callbacks=callbacks, enable_checkpointing=bool(callbacks))
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return model


def _order(model: Recorder, epoch: int) -> list[int]:
    return [row for seen in model.seen if seen[0] == epoch for row in seen[2]]


def test_with_one_window_training_is_bit_identical_to_the_folder_the_shards_were_written_from(
    photos: Path, shards: Path
) -> None:
    folder = _fit(ImageFolder(data_dir=str(photos), **SETTINGS))
    stream = _fit(Stream(data_dir=str(shards), shard_window=100, **SETTINGS))
    assert stream.seen == folder.seen
    assert torch.equal(stream.net.weight, folder.net.weight)


def test_parts_classes_names_and_fingerprint_are_those_of_the_folder(photos: Path, shards: Path) -> None:
    folder, stream = ImageFolder(data_dir=str(photos), **SETTINGS), Stream(data_dir=str(shards), **SETTINGS)
    assert stream.class_names == folder.class_names
    assert stream.fingerprint() == folder.fingerprint()
    for name, part in folder.splits().items():
        there = stream.splits()[name]
        assert torch.equal(there.indices, part.indices)
        assert torch.equal(there.source.targets[there.indices], part.source.targets[part.indices])
        names = [folder.sample_name(name, row) for row in part.indices.tolist()]
        assert [stream.sample_name(name, row) for row in there.indices.tolist()] == names


def test_every_epoch_has_every_image_once_in_windows_of_few_shards_and_in_another_order(shards: Path) -> None:
    data = Stream(data_dir=str(shards), shard_window=2, **SETTINGS)
    source, rows = data.splits()["train"].source, data.splits()["train"].indices
    shard_of = source.index.shard  # type: ignore[attr-defined]
    orders = [data._training_order(rows, 42, epoch) for epoch in range(3)]
    for order in orders:
        assert torch.equal(order.sort().values, rows)
        runs = [shard_of[i] for i in order.tolist()]
        first = {shard: runs.index(shard) for shard in set(runs)}
        by_first_use = sorted(first, key=first.__getitem__)
        last = {shard: len(runs) - 1 - runs[::-1].index(shard) for shard in first}
        for i, shard in enumerate(by_first_use[:-2]):
            later = by_first_use[i + 2]
            assert last[shard] < first[later], "more than two shards at a time"
        assert any(np.diff(runs) < 0), "mixed within windows"
    assert len({tuple(order.tolist()) for order in orders}) == 3


def test_resume_in_any_epoch_repeats_the_uninterrupted_run_bit_for_bit(shards: Path, tmp_path: Path) -> None:
    def data(workers: int) -> Stream:
        return Stream(data_dir=str(shards), shard_window=2, **{**SETTINGS, "workers": workers})

    whole = _fit(data(0), folder=tmp_path / "ckpt")
    steps = len(whole.seen) // EPOCHS
    assert _order(whole, 0) != _order(whole, 1)
    for step in (2, steps + 1, 2 * steps - 1, 2 * steps + 3):
        rest = _fit(data(step % 3), tmp_path / "ckpt" / f"step={step}.ckpt")
        assert rest.seen == whole.seen[step:]
        assert torch.equal(rest.net.weight, whole.net.weight)


def test_two_ranks_share_the_batches_of_one(shards: Path) -> None:
    data = Stream(data_dir=str(shards), shard_window=2, **SETTINGS)
    data.setup("fit")
    loaders = []
    for rank, world, size in ((0, 1, 6), (0, 2, 3), (1, 2, 3)):
        loader = data.train_dataloader()
        loader.rank, loader.world_size, loader.batch_size = rank, world, size
        loader.position = lambda: (2, 0)  # epoch 2
        loaders.append(list(loader))
    rows = data.splits()["train"].indices
    assert torch.equal(torch.cat([batch.index for rank in loaders[1:] for batch in rank]).sort().values, rows)
    for whole, first, second in zip(*loaders, strict=True):
        assert torch.equal(whole.index, torch.cat([first.index, second.index]))
        assert torch.equal(whole.image, torch.cat([first.image, second.image]))


def test_shards_are_plain_webdataset(photos: Path, shards: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    read = list(webdataset.WebDataset(sorted(map(str, shards.glob("train-*.tar"))), shardshuffle=False))
    data = ImageFolder(data_dir=str(photos), **SETTINGS)
    assert sorted(int(sample["__key__"]) for sample in read) == data.splits()["train"].indices.tolist()
    for sample in read:
        row = int(sample["__key__"])
        assert sample["png"] == (photos / data.sample_name("train", row)).read_bytes()
        assert int(sample["cls"]) == int(data.splits()["train"].source.targets[row])


# What is damaged ----


def _read(where: Path | str, **settings: Any) -> None:
    data = Stream(data_dir=str(where), **{**SETTINGS, **settings})
    data.setup("fit")
    list(data.train_dataloader())


def _error(where: Path | str, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        _read(where, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_or_truncated_shard_is_named_before_training(shards: Path) -> None:
    shard = shards / "train-000002.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1000])
    assert f"{shard} has {len(content) - 1000:,} bytes instead of {len(content):,}" in _error(shards)
    shard.unlink()
    assert f"{shard} is missing" in _error(shards)


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
    assert f"train-000001.tar is truncated or was changed, at {index.names[row]}: write or copy" in _error(shards)
    with pytest.raises(UserError, match="was changed"):  # by lit-cnn prepare, too
        _ = Stream(data_dir=str(shards), **SETTINGS).broken


def test_a_set_without_manifest_or_with_a_strange_one_is_refused_in_a_line(shards: Path) -> None:
    manifest = json.loads((shards / MANIFEST).read_text())
    for change, message in (
        ({"version": 2}, "is of version 2"),
        ({"index": {**manifest["index"], "name": "../index.npz"}}, "damaged ('../index.npz' is not a plain file name)"),
        ({"index": {**manifest["index"], "sha256": "0" * 64}}, "does not belong to the manifest.json"),
        ({"shards": [{"name": "a.tar"}]}, "damaged"),
    ):
        (shards / MANIFEST).write_text(json.dumps({**manifest, **change}))
        assert message in _error(shards)
    (shards / MANIFEST).unlink()
    assert f"there are no shards in {shards}" in _error(shards)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shard_window": 0}, "`data.shard_window` is 0"),
        ({"shard_cache_gb": 0}, "`data.shard_cache_gb` is 0"),
        ({"cache": "disk"}, "Stream decodes in every epoch"),
        ({"on_bad_image": "skip"}, "bad images are skipped when shards are written"),
        ({"where": "ftp://host/set"}, "begins with http://, https://, gs://"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str, shards: Path) -> None:
    assert message in _error(**{"where": shards, **settings})


# Writing ----


def test_a_writer_that_is_stopped_leaves_nothing_that_reads_as_a_set(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("lit_cnn.data.shards.format.json.dump", _stop)  # the manifest
        with pytest.raises(KeyboardInterrupt):
            _write(photos, out)
    assert not out.exists()
    killed = tmp_path / ".out.part"  # as a killed process leaves it
    killed.mkdir()
    (killed / "train-000000.tar").write_bytes(b"half")
    _write(photos, out)
    assert (out / MANIFEST).is_file()
    assert not killed.exists()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match="it is not empty"):
        _write(photos, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    again = _write(photos, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in again.iterdir()} == before, "the same pictures, the same bytes"


def _stop(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt


def test_prepare_writes_shards_without_broken_images_and_looks_through_them(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "cat" / "000.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    words = ["prepare", "--data=ImageFolder", f"--data-dir={photos}", "--data.on_bad_image=skip", f"--shards={out}"]
    main(words)
    assert "wrote 3 shards, " in capsys.readouterr().out
    main(["prepare", "--data=Stream", f"--data-dir={out}"])
    assert "all 41 images can be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--data=Digits", "--shards=out"], "--shards has no effect on fit"),
        (["prepare", "--data=Digits", "--shards=out"], "not from Digits"),
        (["prepare", "--data=Digits", "--shard_mb=5"], "say where to write them, --shards DIR"),
        (["prepare", "--data=Digits", "--shards=out", "--shard_mb=0"], "at least 1"),
    ],
)
def test_flags_about_shards_that_cannot_work_are_refused(
    words: list[str], message: str, fails: Callable[..., str], workdir: Path
) -> None:
    assert message in fails(*words)


# Addresses ----


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
    near = _fit(Stream(data_dir=str(shards), **settings))
    far = _fit(Watching(data_dir=address, shard_cache_gb=limit / 1e9, **settings))
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
    before = _fit(Stream(data_dir=address, **SETTINGS)).seen
    asked.clear()
    data = Stream(data_dir=address, **SETTINGS)
    assert isinstance(data._storage, RemoteStorage)
    for copy in data._storage.copies.iterdir():
        copy.write_bytes(damage)
    assert _fit(data).seen == before
    assert {"index.npz", "train-000000.tar"} <= set(asked)


def test_what_cannot_be_fetched_is_one_line(shards: Path, served: tuple[str, list[str]]) -> None:
    address, _ = served
    shard = shards / "train-000002.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[:-512] + b"x" * 512)
    assert "train-000002.tar is not the file that manifest.json names" in _error(address)
    shard.unlink()
    assert "cannot fetch " in (message := _error(address))
    assert "train-000002.tar: it is missing" in message
    assert "`data.shard_cache_gb` is 1e-05" in _error(address, shard_cache_gb=1e-5)


def test_a_folder_needs_neither_the_network_nor_webdataset(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    monkeypatch.setattr(socket, "socket", _stop)
    _read(shards)
    assert "pip install 'lit-cnn[stream]'" in _error("http://127.0.0.1:9/none")
