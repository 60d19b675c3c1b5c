"""Download and unpack published files: checksum verified before use, complete or absent, one process at a time."""

from __future__ import annotations

import http.client
import lzma
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lit_cnn.errors import UserError
from lit_cnn.utils.console import say
from lit_cnn.utils.files import CHUNK, atomic_write, file_checksum, file_lock


@dataclass(frozen=True)
class PublishedFile:
    """A file to download and its published checksum, one of ``md5`` and ``sha256``.

    Args:
        name: File name.
        urls: Addresses, in the order to try.
        md5: Checksum in hexadecimal, or its first digits.
        sha256: Likewise; torch.hub's files have 8 or more digits of it in their names.
    """

    name: str
    urls: tuple[str, ...]
    md5: str = ""
    sha256: str = ""

    @property
    def algorithm(self) -> str:
        """Name of the checksum, as in :mod:`hashlib`."""
        return "sha256" if self.sha256 else "md5"

    @property
    def checksum(self) -> str:
        """The published checksum, in lower-case hexadecimal."""
        return self.sha256 or self.md5

    def mismatch(self, path: Path) -> str:
        """Compare the checksum of the file at ``path``: both checksums as text where they differ, else ``""``."""
        found = file_checksum(path, self.algorithm)
        return "" if found.startswith(self.checksum) else f"{self.algorithm} {found}, expected {self.checksum}"


def fetch(file: PublishedFile, folder: Path, advice: str = "choose another folder") -> Path:
    """Return ``folder / file.name``; download it first if it is not there.

    It gets its name only after its checksum was verified, so a file of that name is complete. Two processes do not
    download it twice. A file that was there already is not read: call :func:`verify` before you use one that the user,
    or a damaged disk, may have changed.

    Args:
        file: What to download.
        folder: Where to; created if missing.
        advice: What the user can do where ``folder`` cannot be written, for the message. A setting in it is
            between backticks.

    Raises:
        UserError: No address answered, the checksum is wrong, or the folder cannot be written.
    """
    target = folder / file.name
    try:
        with file_lock(folder / f".{file.name}.lock"):
            if not target.exists():
                for leftover in folder.glob(f".{file.name}.*.partial"):  # of a killed process
                    leftover.unlink(missing_ok=True)
                with atomic_write(target, "wb") as out:
                    _download(file, out, folder)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}; {advice}") from error
    return target


def _download(file: PublishedFile, out: IO[bytes], folder: Path) -> None:
    """Write the first good copy to ``out``."""
    reasons = []
    for url in file.urls:
        say(f"downloading {url}")
        out.seek(0)
        out.truncate()
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                shutil.copyfileobj(answer, out, CHUNK)
                expected = answer.headers.get("Content-Length")
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reasons.append(f"{url}: {getattr(error, 'reason', error)}")
            continue
        out.flush()
        if expected is not None and out.tell() != int(expected):
            reasons.append(f"{url}: broke off after {out.tell():,} of {int(expected):,} bytes")
        elif mismatch := file.mismatch(Path(out.name)):
            reasons.append(f"{url}: {mismatch}")
        else:
            return
    raise UserError(f"could not download {file.name}: {'; '.join(reasons)}; fetch it yourself into {folder}")


def verify(path: Path, file: PublishedFile) -> None:
    """Raise UserError unless the file at ``path`` has the published checksum."""
    try:
        mismatch = file.mismatch(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if mismatch:
        raise UserError(
            f"{path} is not the published file ({mismatch}): remove it and fetch it again from {file.urls[0]}"
        )


def extract(archive: Path, member: str, folder: Path, advice: str = "choose another folder") -> Path:
    """Unpack the top folder ``member`` of a tar archive as ``folder / member`` and return that path.

    It is unpacked under another name and renamed when complete, so a folder of that name is complete. Nothing is
    written outside: the "data" filter refuses absolute paths, "..", links that lead out and device files.

    Args:
        archive: The tar file, compressed or not.
        member: Name of its top folder.
        folder: Where to; created if missing.
        advice: As for :func:`fetch`.

    Raises:
        UserError: The archive is damaged, unsafe, or lacks ``member``, or the folder cannot be written.
    """
    target, part = folder / member, folder / f".{member}.part"
    if not hasattr(tarfile, "data_filter"):
        raise UserError("this Python unpacks archives unsafely: upgrade to 3.10.12, 3.11.4, 3.12 or later")
    try:
        with file_lock(folder / f".{member}.lock"):
            if target.exists():
                return target
            shutil.rmtree(part, ignore_errors=True)  # of a killed process
            try:
                with tarfile.open(archive) as tar:
                    tar.extractall(part, filter="data")
                    while tar.fileobj is not None and tar.fileobj.read(CHUNK):
                        pass  # to the end, where the compression's own checksum is
                if not (part / member).is_dir():
                    raise UserError(f"{archive} has no folder {member}: remove it and fetch it again")
                (part / member).rename(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the archive
            raise UserError(f"cannot unpack {archive}: {error.strerror}; {advice}") from error
        reason = str(error).splitlines()[0].rstrip(":")  # tarfile lists all compressions that it is not
        raise UserError(f"cannot unpack {archive}: {reason}; remove it and fetch it again") from error
    return target
