"""A set of picture files packed into a few large tar files, with an index that finds every picture in them.

The tar files are WebDataset's (https://github.com/webdataset/webdataset), so other pipelines read them too: two files
a sample, ``000000012.jpg`` and ``000000012.cls``, the number of its class as text. WebDataset itself reads them from
front to back, and goes on in the middle only by reading again what it has read. But a tar file is not compressed:
``index.npz`` says at which byte each picture begins, so any batch of any epoch can be read at once. ``manifest.json``
names these files with their sizes and checksums, and is written last: without it there is no set.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from lit_cnn.data.datamodule import Part
from lit_cnn.data.decoding.decode import why
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.transforms.rng import permutation
from lit_cnn.errors import UserError
from lit_cnn.utils.console import Display
from lit_cnn.utils.download import file_sum, locked
from lit_cnn.utils.files import sync_folder

MANIFEST, INDEX = "manifest.json", "index.npz"
PARTS = ("train", "val", "test")
_VERSION = 1
_PLAIN_NAME = re.compile(r"\w[\w.-]*", re.ASCII)  # nothing that leads out of a folder


def webdataset() -> ModuleType:
    """Return the package of that name, which writes shards and fetches remote ones.

    Raises:
        UserError: It is not installed.
    """
    try:
        import webdataset.cache
        import webdataset.writer
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "webdataset":
            raise
        raise UserError(
            "writing shards, and reading them from an address, need the webdataset package: pip install "
            "'lit-cnn[stream]'"
        ) from None
    return webdataset


@dataclass(frozen=True)
class SetFile:
    """A file of a set of shards: its name, size in bytes and sha256 in hexadecimal."""

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not _PLAIN_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no plain file name")


@dataclass(frozen=True)
class Shard(SetFile):
    """A tar file of samples, all of one part ("train", "val" or "test")."""

    part: str


@dataclass(frozen=True)
class Manifest:
    """What a set of shards consists of: the names of its classes, its index, and its shards."""

    classes: list[str]
    index: SetFile
    shards: list[Shard]

    @classmethod
    def parse(cls, content: bytes, where: str) -> Manifest:
        """Read ``manifest.json``.

        Raises:
            UserError: It is none, or of a later version.
        """
        try:
            read = json.loads(content)
            if read["version"] != _VERSION:
                raise UserError(f"{where} is of version {read['version']}, this lit-cnn reads {_VERSION}: upgrade it")
            shards = [Shard(**shard) for shard in read["shards"]]
            return cls([str(name) for name in read["classes"]], SetFile(**read["index"]), shards)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{where} is damaged ({error}): write or copy the shards again") from error


@dataclass(frozen=True)
class Index:
    """Where every picture is; one entry a picture, in the order of the files that the shards were written from.

    Attributes:
        names: Path of the picture's file, relative to the folder it came from.
        target: int64 (N,), classes.
        shard: int64 (N,), numbers of shards.
        start: int64 (N,), where in the shard the file's bytes begin.
        size: int64 (N,), how many there are.
        check: int64 (N,), their CRC-32.
    """

    names: list[str]
    target: np.ndarray
    shard: np.ndarray
    start: np.ndarray
    size: np.ndarray
    check: np.ndarray

    @classmethod
    def parse(cls, content: bytes, manifest: Manifest, where: str) -> Index:
        """Read ``index.npz``.

        Raises:
            UserError: It is not the one that the manifest names.
        """
        if hashlib.sha256(content).hexdigest() != manifest.index.sha256:
            raise UserError(f"{where} does not belong to the {MANIFEST} beside it: write or copy the shards again")
        with np.load(io.BytesIO(content)) as arrays:
            names = arrays["names"].tobytes().decode(errors="surrogateescape").split("\0")
            return cls(names, *(arrays[key].astype(np.int64) for key in ("target", "shard", "start", "size", "check")))


def write_shards(
    out: Path,
    source: FileSource,
    parts: dict[str, Part],
    classes: list[str],
    shard_bytes: int,
    display: Display | None = None,
) -> list[Shard]:
    """Write the pictures of ``parts`` to a folder: all of it, or nothing.

    Training pictures are mixed first, always in the same way: neighbours in a shard are used at about the same time,
    and should not be of the same class. The others keep their order, in which they are read.

    Args:
        out: The folder; must not exist, or be empty.
        source: Of all parts.
        parts: Rows of ``source``.
        classes: Names of the classes.
        shard_bytes: Size of a shard; only one with a single picture may be larger.
        display: Where to show progress; None: nowhere.

    Raises:
        UserError: There is something in the folder, a picture cannot be read, or webdataset is not installed.
    """
    webdataset()
    part_folder = out.parent / f".{out.name}.part"
    with locked(out.parent / f".{out.name}.lock"):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--shards {out}: there is something there already; give a new folder, or remove it")
        shutil.rmtree(part_folder, ignore_errors=True)  # what a killed process left
        part_folder.mkdir()
        try:
            shards = _write(part_folder, source, parts, classes, shard_bytes, display)
            if out.exists():
                out.rmdir()  # empty, see above
            part_folder.rename(out)
            sync_folder(out.parent)
        finally:
            shutil.rmtree(part_folder, ignore_errors=True)
            if display is not None:
                display.close()
    return shards


def _write(
    folder: Path,
    source: FileSource,
    parts: dict[str, Part],
    classes: list[str],
    shard_bytes: int,
    display: Display | None,
) -> list[Shard]:
    total = sum(len(part.rows) for part in parts.values())
    shards: list[Shard] = []
    places: list[tuple[int, int, int, int, int]] = []  # row, shard, start, size, check
    for part in (name for name in PARTS if name in parts):
        rows = parts[part].rows
        rows = rows[permutation(0, 0, len(rows))] if part == "train" else rows
        pending = _packed(source, rows.tolist(), shard_bytes)
        for number, members in enumerate(pending):
            path = folder / f"{part}-{number:06d}.tar"
            _write_tar(path, source, members)
            places += [(row, len(shards), start, size, check) for row, start, size, check in _found(path)]
            shards.append(Shard(path.name, path.stat().st_size, file_sum(path, "sha256"), part))
            if display is not None:
                display.show("shards", "writing shards", len(places), total)
    places.sort()
    rows_in_order, shard, start, size, check = (np.array(column, np.int64) for column in zip(*places, strict=True))
    names = "\0".join(source.paths[row] for row in rows_in_order).encode(errors="surrogateescape")
    with (folder / INDEX).open("wb") as file:
        np.savez_compressed(
            file,
            names=np.frombuffer(names, np.uint8),
            target=source.targets[torch.from_numpy(rows_in_order)].numpy(),
            shard=shard,
            start=start,
            size=size,
            check=check,
        )
        _flush(file)
    index = SetFile(INDEX, (folder / INDEX).stat().st_size, file_sum(folder / INDEX, "sha256"))
    manifest: dict[str, Any] = {
        "version": _VERSION,
        "classes": classes,
        "index": asdict(index),
        "shards": [asdict(item) for item in shards],
    }
    sync_folder(folder)
    with (folder / MANIFEST).open("w", encoding="utf-8") as text:  # last
        json.dump(manifest, text, indent=1)
        _flush(text)
    sync_folder(folder)
    return shards


def _packed(source: FileSource, rows: list[int], shard_bytes: int) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the rows and files of one shard after the other."""
    members: list[tuple[int, bytes]] = []
    used = 0
    for row in rows:
        content = _content(source.root / source.paths[row])
        takes = 2048 + len(content)  # two headers, the class, and half a block of padding on the average
        if members and used + takes > shard_bytes:
            yield members
            members, used = [], 0
        members.append((row, content))
        used += takes
    if members:
        yield members


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read image {path}: {why(error)}; fix or remove it") from error


def _write_tar(path: Path, source: FileSource, members: list[tuple[int, bytes]]) -> None:
    with path.open("wb") as file:
        # mtime: the same pictures give the same bytes.
        with webdataset().writer.TarWriter(file, encoder=False, mtime=0) as tar:
            for row, content in members:
                kind = Path(source.paths[row]).suffix[1:].lower()
                tar.write({"__key__": f"{row:09d}", kind: content, "cls": b"%d" % int(source.targets[row])})
        _flush(file)


def _found(path: Path) -> Iterator[tuple[int, int, int, int]]:
    """Read a shard back: row, first byte, size and checksum of each picture."""
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if not member.name.endswith(".cls"):
                content = tar.extractfile(member)
                assert content is not None  # it is a plain file
                check = zlib.crc32(content.read())
                yield int(member.name.partition(".")[0]), member.offset_data, member.size, check


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
