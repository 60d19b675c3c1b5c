"""Shards are plain WebDataset, complete or refused; `prepare` writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_cnn.cli.main import main
from lit_cnn.data import ImageFolder
from lit_cnn.data.shards.format import MANIFEST
from lit_cnn.errors import UserError
from tests.data.shards.helpers import SETTINGS, error_of, interrupt, write_photos


def test_shards_are_plain_webdataset(photos: Path, shards: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    read = list(webdataset.WebDataset(sorted(map(str, shards.glob("train-*.tar"))), shardshuffle=False))
    data = ImageFolder(data_dir=str(photos), **SETTINGS)
    assert sorted(int(sample["__key__"]) for sample in read) == data.splits()["train"].indices.tolist()
    for sample in read:
        row = int(sample["__key__"])
        assert sample["png"] == (photos / data.sample_name("train", row)).read_bytes()
        assert int(sample["cls"]) == int(data.splits()["train"].source.targets[row])


def test_a_set_without_manifest_or_with_a_strange_one_is_refused_in_a_line(shards: Path) -> None:
    manifest = json.loads((shards / MANIFEST).read_text())
    for change, message in (
        ({"version": 2}, "is of version 2"),
        ({"index": {**manifest["index"], "name": "../index.npz"}}, "damaged ('../index.npz' is not a plain file name)"),
        ({"index": {**manifest["index"], "sha256": "0" * 64}}, "does not belong to the manifest.json"),
        ({"shards": [{"name": "a.tar"}]}, "damaged"),
    ):
        (shards / MANIFEST).write_text(json.dumps({**manifest, **change}))
        assert message in error_of(shards)
    (shards / MANIFEST).unlink()
    assert f"there are no shards in {shards}" in error_of(shards)


def test_a_writer_that_is_stopped_leaves_nothing_that_reads_as_a_set(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("lit_cnn.data.shards.format.json.dump", interrupt)  # the manifest
        with pytest.raises(KeyboardInterrupt):
            write_photos(photos, out)
    assert not out.exists()
    killed = tmp_path / ".out.part"  # as a killed process leaves it
    killed.mkdir()
    (killed / "train-000000.tar").write_bytes(b"half")
    write_photos(photos, out)
    assert (out / MANIFEST).is_file()
    assert not killed.exists()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match="it is not empty"):
        write_photos(photos, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    again = write_photos(photos, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in again.iterdir()} == before, "the same pictures, the same bytes"


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
