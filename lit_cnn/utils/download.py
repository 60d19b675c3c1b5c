"""Downloading and unpacking: verified before use, complete or absent, one process at a time."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import lzma
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lit_cnn.errors import UserError

log = logging.getLogger(__name__)

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Remote:
    """A published file: its name, addresses in the order to try, and published checksum (one of md5, sha256)."""

    name: str
    urls: tuple[str, ...]
    md5: str = ""
    sha256: str = ""

    @property
    def algorithm(self) -> str:
        """The checksum's kind."""
        return "sha256" if self.sha256 else "md5"

    @property
    def sum(self) -> str:
        """The published checksum, in hexadecimal."""
        return self.sha256 or self.md5


def file_sum(path: Path, algorithm: str) -> str:
    """Return the checksum of a file in hexadecimal."""
    # MD5 is what the authors of these sets published; it guards against damage and mix-ups.
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created if missing); the system frees it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            while True:
                with contextlib.suppress(OSError):  # gives up after 10 s: ask again
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
                    break
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch(remote: Remote, folder: Path) -> Path:
    """Return ``folder / remote.name``, downloading it first if it is not there.

    It arrives in a temporary file in the same folder and gets its name only when its checksum is right, so a file of
    that name is complete. Two processes do not download it twice.

    Raises:
        UserError: No address answered, the checksum is wrong, or the folder cannot be written.
    """
    target, part = folder / remote.name, folder / f".{remote.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{remote.name}.lock"):
            if not target.exists():
                try:
                    _download(remote, part)
                    os.replace(part, target)  # noqa: PTH105 (the atomic one, by its own name)
                finally:
                    part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}; choose another --data.data_dir") from error
    return target


def _download(remote: Remote, part: Path) -> None:
    reasons = []
    for url in remote.urls:
        log.warning("downloading %s", url)
        try:
            with urllib.request.urlopen(url, timeout=30) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file, _CHUNK)
                expected = answer.headers.get("Content-Length")
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reasons.append(f"{url}: {getattr(error, 'reason', error)}")
            continue
        if expected is not None and part.stat().st_size != int(expected):
            reasons.append(f"{url}: broke off after {part.stat().st_size:,} of {int(expected):,} bytes")
            continue
        found = file_sum(part, remote.algorithm)
        if found == remote.sum:
            return
        reasons.append(f"{url}: {remote.algorithm} {found}, expected {remote.sum}")
    raise UserError(f"could not download {remote.name}: {'; '.join(reasons)}; fetch it yourself into {part.parent}")


def verify(path: Path, remote: Remote) -> None:
    """Raise UserError unless the file has its published checksum."""
    found = file_sum(path, remote.algorithm)
    if found != remote.sum:
        raise UserError(
            f"{path} is not the published file ({remote.algorithm} {found}, expected {remote.sum}): "
            f"remove it and fetch it again from {remote.urls[0]}"
        )


def extract(archive: Path, member: str, folder: Path) -> Path:
    """Unpack the top folder ``member`` of a tar archive as ``folder / member`` and return that path.

    It is unpacked beside and renamed when complete, so a folder of that name is complete. Nothing can land outside:
    the "data" filter refuses absolute paths, "..", links that lead out and device files.

    Raises:
        UserError: The archive is damaged, unsafe, or lacks ``member``, or the folder cannot be written.
    """
    target, part = folder / member, folder / f".{member}.part"
    if not hasattr(tarfile, "data_filter"):
        raise UserError("this Python unpacks archives unsafely: upgrade to 3.10.12, 3.11.4, 3.12 or later")
    try:
        with locked(folder / f".{member}.lock"):
            if target.exists():
                return target
            shutil.rmtree(part, ignore_errors=True)  # what a killed process left
            try:
                with tarfile.open(archive) as tar:
                    tar.extractall(part, filter="data")
                    while tar.fileobj is not None and tar.fileobj.read(_CHUNK):
                        pass  # to the end, where the compression keeps its own checksum
                if not (part / member).is_dir():
                    raise UserError(f"{archive} has no folder {member}: remove it and fetch it again")
                (part / member).rename(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the archive's
            raise UserError(f"cannot unpack {archive}: {error.strerror}; choose another --data.data_dir") from error
        reason = str(error).splitlines()[0].rstrip(":")  # tarfile lists all compressions that it is not
        raise UserError(f"cannot unpack {archive}: {reason}; remove it and fetch it again") from error
    return target
