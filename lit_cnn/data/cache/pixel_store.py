"""Decoded pictures in one file that is mapped into memory: built once, complete or not there at all.

A store on disk is a folder with a small ``manifest.json`` that names one file: the pixels of all pictures, one after
the other as uint8, and behind them an index. Both are written under other names, flushed and renamed, the manifest
last, so a process that is killed at any moment leaves the old store or none. A lock (released by the system when its
holder dies) lets one process build while the others wait. The index is checked by its hash when a store is opened, a
picture by its checksum when a process first reads it. Pages are read when needed and shared by all processes that
map the file, and the system drops them when it is short of memory: resident memory does not grow with the data.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from lit_cnn.data.transforms.rng import digest
from lit_cnn.errors import UserError
from lit_cnn.utils import memory
from lit_cnn.utils.console import Display
from lit_cnn.utils.files import sync_folder

try:
    import fcntl
except ImportError:  # Windows: two processes may build at once; the last one's store stays, complete
    fcntl = None  # type: ignore[assignment]  # its only other value

_VERSION = 2
_AT_ONCE = 128  # pictures decoded ahead of the writing
_INDEX = np.dtype([("key", "<u8"), ("start", "<i8"), ("shape", "<i4", 3), ("sum", "<u4")])
MARGIN = 1.05  # free space to keep, as a factor: sizes to come are estimated from those that were


class Store:
    """Pictures of a file, in the order they were asked for.

    Args:
        file: With the pixels and behind them the index; may be closed afterwards.
        count: How many pictures.
        where: What a person calls the store.

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
        # Read only: writable pages, even if copied on write, count as this process's own against limits of memory.
        self.pixels = np.memmap(file, np.uint8, "r", shape=(end,)) if end else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self.index)

    def picture(self, i: int) -> np.ndarray:
        """Return picture ``i``, uint8, a view of the file."""
        start, shape = int(self.index["start"][i]), self.shapes[i].tolist()
        flat = self.pixels[start : start + math.prod(shape)]
        if not self._checked[i]:
            if _sum(flat) != self.index["sum"][i]:
                raise UserError(f"decoded images kept in {self.where} are damaged: remove it, and start again")
            self._checked[i] = True
        return flat.reshape(shape)

    def together(self, places: Iterable[int]) -> np.ndarray:
        """Return all pictures as one uint8 (count, -1) view, if they are of one size; only ``places`` may be read."""
        for i in places:
            if not self._checked[i]:
                self.picture(i)
        return self.pixels.reshape(len(self), -1)


def _sum(pixels: np.ndarray) -> int:
    """CRC-32 of contiguous uint8: against damage, not against malice."""
    return zlib.crc32(pixels.data)


class Recipe:
    """What a store is made of.

    Args:
        root: Folder the paths are relative to.
        paths: Of the pictures, in order.
        decode: Makes a path a uint8 array of three dimensions, contiguous.
        form: Everything that decides what ``decode`` returns, as text; another form is another store.
        workers: Threads that decode.
        display: Where to show progress; None: nowhere.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        decode: Callable[[Path], np.ndarray],
        form: str,
        workers: int,
        display: Display | None,
    ) -> None:
        self.root, self.paths, self.decode, self.form = root, paths, decode, form
        self.workers, self.display = max(1, workers), display

    def keys(self) -> np.ndarray:
        """Return uint64 (count,): a hash of each file's path, size and times of change.

        The time that the system keeps for itself (ctime) too: copying programs set the other one back.
        """
        return np.array([self._key(path) for path in self.paths], np.uint64)

    def _key(self, path: str) -> int:
        size, times = -1, (-1, -1)
        with contextlib.suppress(OSError):  # decoding it says what is wrong
            stat = (self.root / path).stat()
            size, times = stat.st_size, (stat.st_mtime_ns, stat.st_ctime_ns)
        text = f"{path}\0{size}\0{times}".encode(errors="surrogateescape")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def in_memory(recipe: Recipe) -> Store:
    """Build a store that lives in this process's memory and ends with it."""
    # A file without a name: the same code as on disk, and nothing is left behind whatever ends the process.
    name = "lit_cnn-pictures"
    with os.fdopen(os.memfd_create(name), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile() as file:
        _build(recipe, recipe.keys(), file, None, memory.available, "in memory: try --data.cache disk, or none")
        return Store(file, len(recipe.paths), "memory")


def on_disk(recipe: Recipe, folder: Path, decoder: str) -> Store:
    """Open the store in ``folder``; build it first if it is not there, or a file, the list or the decoder changed.

    Args:
        recipe: What is wanted.
        folder: Of this store alone.
        decoder: Names and versions of what decodes; pictures decoded by another are not used.

    Raises:
        UserError: A picture cannot be read, or the disk is full or cannot be written to.
    """
    keys = recipe.keys()
    wanted = {
        "version": _VERSION,
        "decoder": decoder,
        "form": recipe.form,
        "pictures": len(keys),
        "files": hashlib.blake2b(keys.tobytes(), digest_size=16).hexdigest(),
    }
    store = _open(folder, wanted)
    if store is not None:
        return store
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            # Another process may have built it while this one waited.
            return _open(folder, wanted) or _rebuild(recipe, keys, folder, wanted)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot keep decoded images in {folder}: {reason}; make room, set LIT_CNN_CACHE to another folder, or "
            "try --data.cache none"
        ) from error


def _open(folder: Path, wanted: dict[str, Any]) -> Store | None:
    """Return the store if it is complete and as ``wanted``; only the keys given are compared."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if any(manifest[key] != value for key, value in wanted.items()):
            return None
        with (folder / manifest["pixels"]).open("rb") as file:
            if os.fstat(file.fileno()).st_size != manifest["bytes"]:
                return None
            store = Store(file, manifest["pictures"], str(folder))
            return store if _index_hash(store.index) == manifest["index"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _index_hash(index: np.ndarray) -> str:
    return hashlib.blake2b(index.tobytes(), digest_size=16).hexdigest()


def _rebuild(recipe: Recipe, keys: np.ndarray, folder: Path, wanted: dict[str, Any]) -> Store:
    """Write a new store and put it in the place of the old one, whose unchanged pictures it takes over."""
    for rest in folder.glob("*.part"):  # of a process that was killed: nobody else holds the lock
        rest.unlink(missing_ok=True)
    old = _open(folder, {key: wanted[key] for key in ("version", "decoder", "form")})
    name = f"pixels-{digest(wanted['files'], time.time_ns())}.u8"
    part = folder / f"{name}.part"
    try:
        with part.open("w+b") as file:
            _build(
                recipe, keys, file, old, lambda: shutil.disk_usage(folder).free,
                f"in {folder}: make room, set LIT_CNN_CACHE to another folder, or try --data.cache none",
            )  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
            index = _index_hash(Store(file, len(keys), str(folder)).index)
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)
    manifest = folder / "manifest.json.part"
    with manifest.open("w", encoding="utf-8") as text:
        json.dump({**wanted, "pixels": name, "bytes": size, "index": index}, text)
        text.flush()
        os.fsync(text.fileno())
    sync_folder(folder)
    manifest.replace(folder / "manifest.json")
    sync_folder(folder)
    for other in folder.glob("pixels-*.u8"):
        if other.name != name:
            with contextlib.suppress(OSError):  # Windows keeps what somebody has open
                other.unlink()
    store = _open(folder, wanted)
    if store is None:
        raise UserError(f"decoded images written to {folder} cannot be read back: try --data.cache none")
    return store


def _build(
    recipe: Recipe, keys: np.ndarray, file: IO[bytes], old: Store | None, free: Callable[[], int], where: str
) -> None:
    """Write all pictures and the index to ``file``, in order."""
    known = {} if old is None else {int(key): i for i, key in enumerate(old.index["key"])}
    index, at, count = np.zeros(len(keys), _INDEX), 0, len(keys)

    def pixels_of(i: int) -> np.ndarray:
        kept = known.get(int(keys[i]))
        if kept is not None and old is not None:
            with contextlib.suppress(UserError):  # damaged
                return old.picture(kept)
        return recipe.decode(recipe.root / recipe.paths[i])

    next_show = time.monotonic() + 0.5
    with contextlib.ExitStack() as stack:
        pool = ThreadPoolExecutor(recipe.workers, thread_name_prefix="lit_cnn-store")
        stack.callback(pool.shutdown, cancel_futures=True)
        if recipe.display is not None:
            stack.callback(recipe.display.close)
        for first in range(0, count, _AT_ONCE):
            some = range(first, min(first + _AT_ONCE, count))
            for i, pixels in zip(some, pool.map(pixels_of, some), strict=True):
                file.write(pixels.data)
                index[i] = keys[i], at, pixels.shape, _sum(pixels)
                at += pixels.nbytes
                if recipe.display is not None and time.monotonic() >= next_show:
                    recipe.display.show("store", "decoding images once", i + 1, count)
                    next_show = time.monotonic() + 0.2
            done = some[-1] + 1
            if at / done * (count - done) * MARGIN > free():
                all_of_it = memory.format_bytes(at / done * count)
                raise UserError(f"{count:,} decoded images of about {all_of_it} do not fit {where}")
        file.write(index.tobytes())
        file.flush()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases when this process ends, however it ends."""
    with path.open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
