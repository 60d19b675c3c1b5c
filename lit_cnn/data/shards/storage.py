"""Where the files of a set of shards are: a folder, or an address with local copies of bounded size."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

from lit_cnn.data.decoding.verify import cache_folder
from lit_cnn.data.shards.format import MANIFEST, SetFile, webdataset
from lit_cnn.data.transforms.rng import digest
from lit_cnn.errors import UserError
from lit_cnn.utils.download import file_sum, locked

# What webdataset opens and starts no program of the address's choosing for (its "pipe:" runs any command).
SCHEMES = ("http", "https", "gs")
# https://curl.se/libcurl/c/libcurl-errors.html
_CURL = {6: "no such host", 7: "nobody answers there", 22: "it is not there, or not for everybody", 28: "timed out"}


class Place(Protocol):
    """Gives out the files of a set; safe to use from several threads and processes."""

    shown: str  # what a person calls it

    def manifest(self) -> bytes:
        """Return the content of ``manifest.json``."""
        ...

    def open(self, file: SetFile) -> BinaryIO:
        """Open a file, unbuffered."""
        ...

    def check(self, files: Iterable[SetFile], together: int) -> None:
        """Raise UserError where a file that should be here already is not, or not whole.

        ``together`` files are going to be used at the same time.
        """
        ...

    def ahead(self, files: Iterable[SetFile]) -> None:
        """Say which files are going to be opened soon."""
        ...

    def renew(self, file: SetFile) -> bool:
        """Throw a damaged copy away; whether there may be a better one now."""
        ...


def place(where: str, limit: int) -> Place:
    """Return the place that ``--data.data_dir`` names; ``limit`` bytes of an address's files are kept here."""
    scheme, separator, _ = where.partition("://")
    if not separator:
        return Folder(Path(where))
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise UserError(f"--data.data_dir {where}: give a folder, or an address that begins with {known}")
    return Remote(where.rstrip("/"), limit)


class Folder:
    """Shards on this machine: read where they are, never copied. Nothing here uses the network."""

    def __init__(self, root: Path) -> None:
        self.root, self.shown = root, str(root)

    def manifest(self) -> bytes:
        """Return the content of ``manifest.json``."""
        try:
            return (self.root / MANIFEST).read_bytes()
        except OSError as error:
            raise UserError(
                f"there are no shards in {self.root} (no {MANIFEST}): write some with lit-cnn prepare --data "
                "ImageFolder --data.data_dir PHOTOS --shards DIR"
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

    def ahead(self, files: Iterable[SetFile]) -> None:
        """Nothing to do."""

    def renew(self, file: SetFile) -> bool:
        """Say no: these are the user's own files."""
        return False


class Remote:
    """Shards at an address. A file is fetched when it is first needed and checked before it gets its name.

    The copies are shared by all processes of this machine. Files are fetched one at a time, so that there is never
    more than ``limit``: before each, those that were opened longest ago are removed. What is open stays readable.
    """

    def __init__(self, address: str, limit: int) -> None:
        self.address, self.shown, self.limit = address, address, limit
        folder = cache_folder() / "shards" / digest(address)
        self.copies, self._lock = folder / "copies", folder / "lock"
        self._wanted: queue.SimpleQueue[SetFile] = queue.SimpleQueue()
        self._fetcher: threading.Thread | None = None

    def manifest(self) -> bytes:
        """Fetch the content of ``manifest.json``."""
        url = f"{self.address}/{MANIFEST}"
        library = webdataset()
        try:
            with library.gopen(url) as stream:
                return stream.read()
        except OSError as error:
            raise _not_fetched(url, error) from error

    def open(self, file: SetFile) -> BinaryIO:
        """Open the local copy of a file, unbuffered; fetch it first if there is none."""
        copy = self._copy(file)
        while True:  # another process may remove it before it is opened
            try:
                opened = copy.open("rb", buffering=0)
            except FileNotFoundError:
                self._fetch(file)
                continue
            with contextlib.suppress(OSError):
                os.utime(copy)  # what is used stays
            return opened

    def check(self, files: Iterable[SetFile], together: int) -> None:
        """Refuse a limit too small for ``together`` files. Their sizes are compared when they arrive."""
        needed = sum(sorted((file.size for file in files), reverse=True)[:together])
        if needed > self.limit:
            raise UserError(
                f"data.shard_cache_gb is {self.limit / 1e9:g}: {together} shards of {self.address} are needed at a "
                f"time, {needed / 1e9:.2g} GB; raise it, or set a smaller data.shard_window"
            )

    def ahead(self, files: Iterable[SetFile]) -> None:
        """Fetch files in the background."""
        if self._fetcher is None:
            self._fetcher = threading.Thread(target=self._fetch_wanted, name="lit_cnn-shards", daemon=True)
            self._fetcher.start()
        for file in files:
            self._wanted.put(file)

    def renew(self, file: SetFile) -> bool:
        """Remove the copy, which is then fetched again."""
        with locked(self._lock):
            self._copy(file).unlink(missing_ok=True)
        return True

    def _copy(self, file: SetFile) -> Path:
        return self.copies / f"{file.sha256[:16]}-{file.name}"  # a set written again has other sums

    def _fetch_wanted(self) -> None:
        while True:
            with contextlib.suppress(UserError, OSError):  # whoever opens the file hears of it
                self._fetch(self._wanted.get())

    def _fetch(self, file: SetFile) -> None:
        library = webdataset()
        copy, url = self._copy(file), f"{self.address}/{file.name}"
        part = copy.with_name(f"{copy.name}.part")
        try:
            self.copies.mkdir(parents=True, exist_ok=True)
            with locked(self._lock):
                if copy.exists():
                    os.utime(copy)
                    return
                for rest in self.copies.glob("*.part*"):  # of a process that was killed
                    rest.unlink(missing_ok=True)
                library.LRUCleanup(str(self.copies), self.limit - file.size, interval=None).cleanup()
                library.cache.download(url, str(part))
                if part.stat().st_size != file.size or file_sum(part, "sha256") != file.sha256:
                    part.unlink()
                    raise UserError(f"{url} is not the file that {MANIFEST} names: write or copy the shards again")
                part.replace(copy)
        except OSError as error:
            raise _not_fetched(url, error) from error


def _not_fetched(url: str, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError) and error.filename in ("curl", "gsutil"):
        return UserError(f"cannot fetch {url}: the program {error.filename} is not installed")
    status = re.search(r"exit (\d+)", str(error))
    if status is None:
        return UserError(f"cannot fetch {url}: {error.strerror or error}")
    return UserError(f"cannot fetch {url}: {_CURL.get(int(status[1]), f'its program ended with status {status[1]}')}")
