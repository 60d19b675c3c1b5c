"""Format of shards: image files packed into a few large tar files, with an index for random access.

The tar files are WebDataset's (https://github.com/webdataset/webdataset), so other pipelines read them too: two files
per sample, ``000000012.jpg`` and ``000000012.cls``, its class index as text. WebDataset itself reads them
sequentially, and resumes in the middle only by reading again from the start. But a tar file is not compressed:
``index.npz`` has the offset of each image file, so any batch of any epoch can be read directly. ``manifest.json`` has
the names, sizes and checksums of these files, and is written last: without it the set does not exist.
"""

from __future__ import annotations

import hashlib
import io
import json
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

from lit_cnn.data.decoding.decode import failure_reason
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.split import Split
from lit_cnn.data.transforms.rng import permutation
from lit_cnn.errors import UserError
from lit_cnn.utils.console import Display
from lit_cnn.utils.files import atomic_write, file_checksum, file_lock, sync_folder

MANIFEST, INDEX = "manifest.json", "index.npz"
SPLITS = ("train", "val", "test")
_VERSION = 1
_PLAIN_NAME = re.compile(r"\w[\w.-]*", re.ASCII)  # no path


def webdataset() -> ModuleType:
    """Import and return the webdataset package, which writes shards.

    Raises:
        UserError: It is not installed.
    """
    try:
        import webdataset.cache
        import webdataset.writer
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "webdataset":
            raise
        raise UserError("writing shards needs the webdataset package: pip install 'lit-cnn[stream]'") from None
    return webdataset


@dataclass(frozen=True)
class SetFile:
    """A file of a set of shards: its name, size in bytes and sha256 in hexadecimal."""

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not _PLAIN_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a plain file name")


@dataclass(frozen=True)
class Shard(SetFile):
    """A tar file of samples, all of one split ("train", "val" or "test")."""

    part: str  # the split; a key in manifest.json


@dataclass(frozen=True)
class Manifest:
    """Contents of a set of shards: class names, index, and shards."""

    classes: list[str]
    index: SetFile
    shards: list[Shard]

    @classmethod
    def parse(cls, content: bytes, where: str) -> Manifest:
        """Read ``manifest.json``.

        Raises:
            UserError: It is damaged, or of a later version.
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
    """Position of every image file in the shards, in the order of the files that the shards were written from.

    Attributes:
        names: Path of each file, relative to the folder that it came from.
        target: int64 (N,), class indices.
        shard: int64 (N,), shard indices.
        start: int64 (N,), offset in the shard in bytes.
        size: int64 (N,), in bytes.
        check: int64 (N,), CRC-32.
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
            UserError: Its checksum is not the one in the manifest.
        """
        if hashlib.sha256(content).hexdigest() != manifest.index.sha256:
            raise UserError(f"{where} does not belong to the {MANIFEST} beside it: write or copy the shards again")
        with np.load(io.BytesIO(content)) as arrays:
            names = arrays["names"].tobytes().decode(errors="surrogateescape").split("\0")
            return cls(names, *(arrays[key].astype(np.int64) for key in ("target", "shard", "start", "size", "check")))


def write_shards(
    out: Path,
    source: FileSource,
    splits: dict[str, Split],
    classes: list[str],
    shard_bytes: int,
    display: Display | None = None,
) -> list[Shard]:
    """Write the image files of all splits to a folder, atomically.

    Training images are shuffled first, with a fixed seed: neighbours in a shard are used at about the same time, and
    should not be of the same class. The other splits keep their order, in which they are read.

    Args:
        out: The folder; must not exist, or be empty.
        source: Of all splits.
        splits: By name.
        classes: Class names.
        shard_bytes: Maximum size of a shard; only one with a single image may be larger.
        display: Shows progress; None: no progress.

    Raises:
        UserError: The folder is not empty, a file cannot be read, or webdataset is not installed.
    """
    webdataset()
    partial = out.parent / f".{out.name}.part"
    with file_lock(out.parent / f".{out.name}.lock"):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"`shards={out}`: it is not empty; give a new folder, or remove it")
        shutil.rmtree(partial, ignore_errors=True)  # of a killed process
        partial.mkdir()
        try:
            shards = _write(partial, source, splits, classes, shard_bytes, display)
            if out.exists():
                out.rmdir()  # it is empty
            partial.rename(out)
            sync_folder(out.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if display is not None:
                display.close()
    return shards


def _write(
    folder: Path,
    source: FileSource,
    splits: dict[str, Split],
    classes: list[str],
    shard_bytes: int,
    display: Display | None,
) -> list[Shard]:
    total = sum(len(split.indices) for split in splits.values())
    shards: list[Shard] = []
    entries: list[tuple[int, int, int, int, int]] = []  # sample, shard, start, size, check
    for name in (name for name in SPLITS if name in splits):
        indices = splits[name].indices
        indices = indices[permutation(0, 0, len(indices))] if name == "train" else indices
        for number, members in enumerate(_packed(source, indices.tolist(), shard_bytes)):
            path = folder / f"{name}-{number:06d}.tar"
            _write_tar(path, source, members)
            entries += [(i, len(shards), start, size, check) for i, start, size, check in _read_back(path)]
            shards.append(Shard(path.name, path.stat().st_size, file_checksum(path), name))
            if display is not None:
                display.show("writing shards", len(entries), total)
    entries.sort()
    samples, shard, start, size, check = (np.array(column, np.int64) for column in zip(*entries, strict=True))
    names = "\0".join(source.paths[i] for i in samples).encode(errors="surrogateescape")
    with atomic_write(folder / INDEX, "wb", sync=True) as file:
        np.savez_compressed(
            file,
            names=np.frombuffer(names, np.uint8),
            target=source.targets[torch.from_numpy(samples)].numpy(),
            shard=shard,
            start=start,
            size=size,
            check=check,
        )
    index = SetFile(INDEX, (folder / INDEX).stat().st_size, file_checksum(folder / INDEX))
    manifest: dict[str, Any] = {
        "version": _VERSION,
        "classes": classes,
        "index": asdict(index),
        "shards": [asdict(item) for item in shards],
    }
    with atomic_write(folder / MANIFEST, sync=True) as text:  # last
        json.dump(manifest, text, indent=1)
    return shards


def _packed(source: FileSource, indices: list[int], shard_bytes: int) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the samples and file contents of one shard after the other."""
    members: list[tuple[int, bytes]] = []
    used = 0
    for i in indices:
        content = _content(source.root / source.paths[i])
        takes = 2048 + len(content)  # two headers, the class, and half a block of padding on average
        if members and used + takes > shard_bytes:
            yield members
            members, used = [], 0
        members.append((i, content))
        used += takes
    if members:
        yield members


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read image {path}: {failure_reason(error)}; fix or remove it") from error


def _write_tar(path: Path, source: FileSource, members: list[tuple[int, bytes]]) -> None:
    writer = webdataset().writer.TarWriter
    # mtime: the same images give the same bytes.
    with atomic_write(path, "wb", sync=True) as file, writer(file, encoder=False, mtime=0) as tar:
        for i, content in members:
            kind = Path(source.paths[i]).suffix[1:].lower()
            tar.write({"__key__": f"{i:09d}", kind: content, "cls": b"%d" % int(source.targets[i])})


def _read_back(path: Path) -> Iterator[tuple[int, int, int, int]]:
    """Read a shard back: sample, offset, size and CRC-32 of each image file."""
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if not member.name.endswith(".cls"):
                content = tar.extractfile(member)
                assert content is not None  # it is a plain file
                check = zlib.crc32(content.read())
                yield int(member.name.partition(".")[0]), member.offset_data, member.size, check
