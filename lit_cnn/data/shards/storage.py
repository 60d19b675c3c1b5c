"""Storage of shards: a local folder, or a remote address with a local cache of bounded size."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

from lit_cnn.data.remote import filesystem, is_address, reason_of
from lit_cnn.data.shards.format import MANIFEST, SetFile
from lit_cnn.errors import UserError
from lit_cnn.utils.files import cache_folder, digest, file_checksum, file_lock


class Storage(Protocol):
    """Files of a set of shards; safe to use from several threads and processes."""

    label: str  # for messages

    def manifest(self) -> bytes:
        """Return the content of ``manifest.json``."""
        ...

    def open(self, file: SetFile) -> BinaryIO:
        """Open a file, unbuffered."""
        ...

    def check(self, files: Iterable[SetFile], together: int) -> None:
        """Raise UserError where a local file is missing or incomplete.

        ``together`` files are going to be used at the same time.
        """
        ...

    def prefetch(self, files: Iterable[SetFile]) -> None:
        """Fetch files that are going to be opened soon."""
        ...

    def refetch(self, file: SetFile) -> bool:
        """Remove a damaged local copy; return whether the next ``open`` fetches another one."""
        ...


def open_storage(where: str, limit: int) -> Storage:
    """Return the storage at the setting ``data_dir``; at most ``limit`` bytes of a remote one are cached here."""
    return RemoteStorage(where.rstrip("/"), limit) if is_address(where) else LocalStorage(Path(where))


class LocalStorage:
    """Shards in a local folder, never copied. It never uses the network."""

    def __init__(self, root: Path) -> None:
        self.root, self.label = root, str(root)

    def manifest(self) -> bytes:
        """Return the content of ``manifest.json``."""
        try:
            return (self.root / MANIFEST).read_bytes()
        except OSError as error:
            raise UserError(
                f"there are no shards in {self.root} (no {MANIFEST}): write some with lit-cnn prepare "
                "`data=ImageFolder` `data.data_dir=PHOTOS` `shards=DIR`"
            ) from error

    def open(self, file: SetFile) -> BinaryIO:
        """Open a file, unbuffered."""
        try:
            return (self.root / file.name).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise UserError(f"{self.root / file.name} is missing: write or copy the shards again") from error
        except OSError as error:
            raise UserError(f"cannot read {self.root / file.name}: {error.strerror}") from error

    def check(self, files: Iterable[SetFile], together: int) -> None:
        """Compare sizes."""
        for file in files:
            with self.open(file) as opened:
                size = os.fstat(opened.fileno()).st_size
            if size != file.size:
                raise UserError(
                    f"{self.root / file.name} has {size:,} bytes instead of {file.size:,}: write or copy the shards "
                    "again"
                )

    def prefetch(self, files: Iterable[SetFile]) -> None:
        """Nothing to do."""

    def refetch(self, file: SetFile) -> bool:
        """Return False: these are the user's own files."""
        return False


class RemoteStorage:
    """Shards at an address. A file is fetched on first use and verified before it gets its name.

    Local copies are shared by all processes of this machine. Files are fetched one at a time, so that they never take
    more than ``limit`` bytes: before each, the least recently used ones are removed. Open files stay readable.
    """

    def __init__(self, address: str, limit: int) -> None:
        self.address, self.label, self.limit = address, address, limit
        folder = cache_folder() / "shards" / digest(address)
        self.copies, self._lock = folder / "copies", folder / "lock"
        self._wanted: queue.SimpleQueue[SetFile] = queue.SimpleQueue()
        self._fetcher: threading.Thread | None = None

    def manifest(self) -> bytes:
        """Fetch the content of ``manifest.json``."""
        fs, root = filesystem(self.address)
        try:
            content: bytes = fs.cat_file(f"{root.rstrip('/')}/{MANIFEST}")
        except Exception as error:  # whatever a filesystem of fsspec raises
            raise UserError(f"cannot fetch {self.address}/{MANIFEST}: {reason_of(error)}") from error
        return content

    def open(self, file: SetFile) -> BinaryIO:
        """Open the local copy of a file, unbuffered; fetch it first if there is none."""
        copy = self._copy(file)
        while True:  # another process may remove it before it is opened
            try:
                opened = copy.open("rb", buffering=0)
            except FileNotFoundError:
                self._fetch(file)
                continue
            with contextlib.suppress(OSError):  # somebody else's cache
                os.utime(copy)  # least recently used ones are removed first
            return opened

    def check(self, files: Iterable[SetFile], together: int) -> None:
        """Refuse a limit too small for ``together`` files. Sizes are verified after each download."""
        needed = sum(sorted((file.size for file in files), reverse=True)[:together])
        if needed > self.limit:
            raise UserError(
                f"`data.shard_cache_gb` is {self.limit / 1e9:g}: {together} shards of {self.address} are needed at a "
                f"time, {needed / 1e9:.2g} GB; raise it, or set a smaller `data.shard_window`"
            )

    def prefetch(self, files: Iterable[SetFile]) -> None:
        """Fetch files in the background."""
        if self._fetcher is None:
            self._fetcher = threading.Thread(target=self._fetch_wanted, name="lit_cnn-shards", daemon=True)
            self._fetcher.start()
        for file in files:
            self._wanted.put(file)

    def refetch(self, file: SetFile) -> bool:
        """Remove the local copy; the next ``open`` fetches the file again."""
        with file_lock(self._lock):
            self._copy(file).unlink(missing_ok=True)
        return True

    def _copy(self, file: SetFile) -> Path:
        return self.copies / f"{file.sha256[:16]}-{file.name}"  # a set written again has other checksums

    def _fetch_wanted(self) -> None:
        while True:
            with contextlib.suppress(UserError, OSError):  # open raises it again
                self._fetch(self._wanted.get())

    def _fetch(self, file: SetFile) -> None:
        fs, root = filesystem(self.address)
        copy, url = self._copy(file), f"{self.address}/{file.name}"
        part = copy.with_name(f"{copy.name}.part")
        try:
            self.copies.mkdir(parents=True, exist_ok=True)
            with file_lock(self._lock):
                if copy.exists():
                    os.utime(copy)
                    return
                for leftover in self.copies.glob("*.part*"):  # of a killed process
                    leftover.unlink(missing_ok=True)
                self._make_room(file.size)
                try:
                    fs.get_file(f"{root.rstrip('/')}/{file.name}", str(part))
                except Exception as error:  # whatever a filesystem of fsspec raises
                    raise UserError(f"cannot fetch {url}: {reason_of(error)}") from error
                if part.stat().st_size != file.size or file_checksum(part) != file.sha256:
                    part.unlink()
                    raise UserError(f"{url} is not the file that {MANIFEST} names: write or copy the shards again")
                part.replace(copy)
        except OSError as error:
            raise UserError(f"cannot keep {url} in {self.copies}: {error.strerror or error}") from error

    def _make_room(self, size: int) -> None:
        """Remove the least recently used copies, so that another of ``size`` bytes stays within the limit."""
        copies = sorted((path.stat().st_mtime_ns, path.stat().st_size, path) for path in self.copies.iterdir())
        held = sum(entry[1] for entry in copies)
        for _, taken, path in copies:
            if held + size <= self.limit:
                break
            path.unlink(missing_ok=True)
            held -= taken
