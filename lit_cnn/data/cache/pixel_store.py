"""Cache of decoded images in one memory-mapped file: built once, complete or absent.

A cache on disk is a folder with a small ``manifest.json`` that names one file: the pixels of all images, one after
the other as uint8, followed by an index. Both are written atomically, the manifest last, so a process that is killed
at any moment leaves the old cache or none. A file lock lets one process build while the others wait. The index is
verified by its hash when a cache is opened, an image by its checksum when a process first reads it. Pages are read on
demand and shared by all processes that map the file, and the system can drop them: resident memory does not grow with
the data.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from lit_cnn.errors import UserError
from lit_cnn.utils import memory
from lit_cnn.utils.console import Display
from lit_cnn.utils.files import atomic_write, digest, file_lock

_VERSION = 2
_AT_ONCE = 128  # images decoded ahead of the writing
_INDEX = np.dtype([("key", "<u8"), ("start", "<i8"), ("shape", "<i4", 3), ("sum", "<u4")])
MARGIN = 1.05  # of free space: the size of the images left is estimated from those written


class PixelCache:
    """Decoded images in a file, in the order of ``CacheSpec.paths``.

    Args:
        file: Pixels, followed by the index; may be closed afterwards.
        count: Number of images.
        where: Name of the cache for messages.

    Attributes:
        shapes: int32 (count, 3).
    """

    def __init__(self, file: IO[bytes], count: int, where: str) -> None:
        file.seek(0, os.SEEK_END)
        end = file.tell() - count * _INDEX.itemsize
        file.seek(end)
        self.index = np.frombuffer(file.read(), _INDEX)
        self.where, self._checked = where, np.zeros(count, bool)
        self.shapes = self.index["shape"]
        # Read-only: writable pages, even copy-on-write ones, count as this process's own against memory limits.
        self.pixels = np.memmap(file, np.uint8, "r", shape=(end,)) if end else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self.index)

    def image(self, i: int) -> np.ndarray:
        """Return image ``i``, uint8, a view of the file."""
        start, shape = int(self.index["start"][i]), self.shapes[i].tolist()
        flat = self.pixels[start : start + math.prod(shape)]
        if not self._checked[i]:
            if zlib.crc32(flat.data) != self.index["sum"][i]:
                raise UserError(f"decoded images cached in {self.where} are damaged: remove it, and start again")
            self._checked[i] = True
        return flat.reshape(shape)

    def as_array(self, positions: Iterable[int]) -> np.ndarray:
        """Return all images as one uint8 (count, -1) view, if they are of one size; only ``positions`` are verified."""
        for i in positions:
            if not self._checked[i]:
                self.image(i)
        return self.pixels.reshape(len(self), -1)


class CacheSpec:
    """What a cache contains.

    Args:
        root: Folder that the paths are relative to.
        paths: Of the image files, in order.
        decode: Decodes the file at a path to a contiguous uint8 array of three dimensions.
        format_key: Everything that decides the result of ``decode``, as text; another key is another cache.
        workers: Decoding threads.
        display: Shows progress; None: no progress.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        decode: Callable[[Path], np.ndarray],
        format_key: str,
        workers: int,
        display: Display | None,
    ) -> None:
        self.root, self.paths, self.decode, self.format_key = root, paths, decode, format_key
        self.workers, self.display = max(1, workers), display

    def keys(self) -> np.ndarray:
        """Return uint64 (count,): a hash of each file's path, size, mtime and ctime.

        ctime too, because copying programs restore mtime.
        """
        return np.array([self._key(path) for path in self.paths], np.uint64)

    def _key(self, path: str) -> int:
        size, times = -1, (-1, -1)
        with contextlib.suppress(OSError):  # decoding it raises the error
            stat = (self.root / path).stat()
            size, times = stat.st_size, (stat.st_mtime_ns, stat.st_ctime_ns)
        return int.from_bytes(bytes.fromhex(digest(path, size, times)), "little")


def in_memory(spec: CacheSpec) -> PixelCache:
    """Build a cache in the memory of this process."""
    # An anonymous file: the same code as on disk, and nothing is left over however the process ends.
    name = "lit_cnn-pictures"
    with os.fdopen(os.memfd_create(name), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile() as file:
        _build(spec, spec.keys(), file, None, memory.available, "in memory: try `data.cache=disk`, or none")
        return PixelCache(file, len(spec.paths), "memory")


def on_disk(spec: CacheSpec, folder: Path, decoder: str) -> PixelCache:
    """Open the cache in ``folder``; build it first if it is missing, or a file, the list or the decoder changed.

    Args:
        spec: What it must contain.
        folder: Of this cache alone.
        decoder: Names and versions of the decoding libraries; images decoded by others are not used.

    Raises:
        UserError: A file cannot be decoded, or the disk is full or cannot be written to.
    """
    keys = spec.keys()
    wanted = {
        "version": _VERSION,
        "decoder": decoder,
        "form": spec.format_key,
        "pictures": len(keys),
        "files": _hash(keys),
    }
    found = _open(folder, wanted)
    if found is not None:
        return found
    try:
        with file_lock(folder / "lock"):
            # Another process may have built it while this one waited.
            return _open(folder, wanted) or _rebuild(spec, keys, folder, wanted)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot cache decoded images in {folder}: {reason}; make room, set LIT_CNN_CACHE to another folder, or "
            "try `data.cache=none`"
        ) from error


def _open(folder: Path, wanted: dict[str, Any]) -> PixelCache | None:
    """Return the cache if it is complete and its manifest agrees with the keys of ``wanted``."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if any(manifest[key] != value for key, value in wanted.items()):
            return None
        with (folder / manifest["pixels"]).open("rb") as file:
            if os.fstat(file.fileno()).st_size != manifest["bytes"]:
                return None
            found = PixelCache(file, manifest["pictures"], str(folder))
            return found if _hash(found.index) == manifest["index"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _hash(array: np.ndarray) -> str:
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()


def _rebuild(spec: CacheSpec, keys: np.ndarray, folder: Path, wanted: dict[str, Any]) -> PixelCache:
    """Write a new cache and replace the old one with it; images that did not change are copied from the old one."""
    for leftover in folder.glob("*.part*"):  # of a killed process: nobody else holds the lock
        leftover.unlink(missing_ok=True)
    old = _open(folder, {key: wanted[key] for key in ("version", "decoder", "form")})
    name = f"pixels-{digest(wanted['files'], time.time_ns())}.u8"
    with atomic_write(folder / name, "w+b", sync=True) as file:
        _build(
            spec, keys, file, old, lambda: shutil.disk_usage(folder).free,
            f"in {folder}: make room, set LIT_CNN_CACHE to another folder, or try `data.cache=none`",
        )  # fmt: skip
        size = os.fstat(file.fileno()).st_size
        index = _hash(PixelCache(file, len(keys), str(folder)).index)
    with atomic_write(folder / "manifest.json", sync=True) as text:
        json.dump({**wanted, "pixels": name, "bytes": size, "index": index}, text)
    for other in folder.glob("pixels-*.u8"):
        if other.name != name:
            with contextlib.suppress(OSError):  # Windows cannot remove an open file
                other.unlink()
    new = _open(folder, wanted)
    if new is None:
        raise UserError(f"decoded images written to {folder} cannot be read back: try `data.cache=none`")
    return new


def _build(
    spec: CacheSpec, keys: np.ndarray, file: IO[bytes], old: PixelCache | None, free: Callable[[], int], where: str
) -> None:
    """Write all images and the index to ``file``, in order."""
    known = {} if old is None else {int(key): i for i, key in enumerate(old.index["key"])}
    index, at, count = np.zeros(len(keys), _INDEX), 0, len(keys)

    def pixels_of(i: int) -> np.ndarray:
        kept = known.get(int(keys[i]))
        if kept is not None and old is not None:
            with contextlib.suppress(UserError):  # damaged
                return old.image(kept)
        return spec.decode(spec.root / spec.paths[i])

    next_show = time.monotonic() + 0.5
    with contextlib.ExitStack() as stack:
        pool = ThreadPoolExecutor(spec.workers, thread_name_prefix="lit_cnn-cache")
        stack.callback(pool.shutdown, cancel_futures=True)
        if spec.display is not None:
            stack.callback(spec.display.close)
        for first in range(0, count, _AT_ONCE):
            some = range(first, min(first + _AT_ONCE, count))
            for i, pixels in zip(some, pool.map(pixels_of, some), strict=True):
                file.write(pixels.data)
                index[i] = keys[i], at, pixels.shape, zlib.crc32(pixels.data)
                at += pixels.nbytes
                if spec.display is not None and time.monotonic() >= next_show:
                    spec.display.show("decoding images once", i + 1, count)
                    next_show = time.monotonic() + 0.2
            done = some[-1] + 1
            if at / done * (count - done) * MARGIN > free():
                all_of_it = memory.format_bytes(at / done * count)
                raise UserError(f"{count:,} decoded images of about {all_of_it} do not fit {where}")
        file.write(index.tobytes())
        file.flush()
