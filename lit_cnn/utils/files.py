"""Atomic writes, file locks between processes, checksums, and the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

CHUNK = 1 << 20  # bytes read at a time


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w", *, sync: bool = False, **options: Any) -> Iterator[IO[Any]]:
    """Open a file that replaces ``path`` when the block ends without an error; a reader finds the old or the new one.

    It is written under a hidden name in the same folder and renamed. After an error ``path`` is unchanged.

    Args:
        path: the file; its folder must exist.
        mode: ``"w"`` or ``"wb"``.
        sync: flush it to the disk before the rename and the rename after, so that it survives a power cut.
        options: for :func:`open`; text is UTF-8 unless they say otherwise.

    Raises:
        OSError: the file cannot be written.
    """
    if "b" not in mode:
        options.setdefault("encoding", "utf-8")
        options.setdefault("errors", "backslashreplace")  # bytes of a file's name that are no text
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        with partial.open(mode, **options) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
        if sync:
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # renamed, or the first cause matters more
            partial.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can."""
    if os.name != "posix":  # Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_lock(path: Path) -> FileLock:
    """An exclusive lock between processes on ``path``, whose folder is made; the system frees it with its holder.

    To be used in a ``with`` statement, which waits, or by ``acquire(timeout=0)``, which raises
    :class:`filelock.Timeout` where another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def file_checksum(path: Path, algorithm: str = "sha256") -> str:
    """Checksum of a file in hexadecimal.

    Args:
        path: the file.
        algorithm: a name of :mod:`hashlib`; MD5 only against damage, where it is all that was published.
    """
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def digest(*parts: object) -> str:
    """Hash of the parts' text (BLAKE2b, 8 bytes) as 16 hexadecimal digits."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(errors="surrogateescape"), digest_size=8).hexdigest()


def cache_folder() -> Path:
    """Where caches are kept: ``$LIT_CNN_CACHE`` or ``~/.cache/lit_cnn``."""
    return Path(os.environ.get("LIT_CNN_CACHE") or Path.home() / ".cache" / "lit_cnn")
