"""Lists of picture files: finding them, telling broken ones, and decoding them as a source for the loader."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from lit_cnn.data.augment import Augment
from lit_cnn.data.decode import EXTENSIONS, Geometry, check_image, read_image
from lit_cnn.data.draws import CROP_OPS, hash_uniform
from lit_cnn.errors import UserError

log = logging.getLogger(__name__)

_SCAN_VERSION = 1  # raise it when check_image comes to other verdicts


@dataclass(frozen=True)
class PictureFile:
    """A picture: its path relative to the set's folder, with forward slashes, and its class there."""

    path: str
    label: str


def visible_folders(folder: Path) -> list[str]:
    """Return the names of the subfolders (or links to some), sorted, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError as error:
        _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(f"cannot list folder {error.filename}: {error.strerror}") from error


def pictures(folder: Path) -> Iterator[str]:
    """Yield the picture files below ``folder`` as relative paths with forward slashes, in no particular order.

    Hidden files and folders are left out. Links to folders inside are not followed: they may lead in a circle.
    """
    for root, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(EXTENSIONS):
                yield Path(root, name).relative_to(folder).as_posix()


class FileSource:
    """Pictures in files, decoded when asked for.

    Args:
        root: Folder the files' paths are relative to.
        paths: One path a sample.
        targets: int64 (N,).
        geometry: Size and channels of the results.
        augment: Of it only the random resized crop is done here, because it needs the picture's own size.
        seed: Of the run; decides the crops.
    """

    def __init__(
        self, root: Path, paths: Sequence[str], targets: Tensor, geometry: Geometry, augment: Augment, seed: int
    ) -> None:
        self.root, self.paths, self.targets = root, list(paths), targets
        self.geometry, self.augment, self.seed = geometry, augment, seed
        self.shape = (geometry.channels, geometry.size, geometry.size)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, row: int) -> str:
        """Return the path relative to the set's folder."""
        return self.paths[row]

    def tasks(self, rows: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function a picture."""
        scale, ratio = self.augment.crop_scale, self.augment.crop_ratio
        draws: Tensor | None = None
        if epoch is not None and scale is not None:
            draws = hash_uniform(self.seed, epoch, rows, CROP_OPS)

        def task(i: int, row: int) -> Callable[[], None]:
            def decode() -> None:
                crop = None if draws is None else draws[:, i]
                pixels = read_image(self.root / self.paths[row], self.geometry, crop, scale or (1.0, 1.0), ratio)
                # The numpy view of the pinned or plain batch: no second copy.
                out[i].numpy()[...] = pixels

            return decode

        return [task(i, row) for i, row in enumerate(rows.tolist())]


def cache_folder() -> Path:
    """Return where verdicts are kept: $LIT_CNN_CACHE or ~/.cache/lit_cnn."""
    return Path(os.environ.get("LIT_CNN_CACHE") or Path.home() / ".cache" / "lit_cnn")


def find_broken(root: Path, paths: Sequence[str], max_pixels: int, workers: int) -> dict[str, str]:
    """Decode every picture once and return the broken ones with the reason, in the order given.

    Verdicts are kept in the cache folder by path, size and time of change, so a picture is decoded again only when it
    changed. A cache that cannot be read or written costs time, nothing else.
    """
    store = cache_folder() / "scan" / f"{_name(root)}.json"
    known = _load(store, max_pixels)
    verdicts: dict[str, list[int | str | None]] = {}

    def check(path: str) -> None:
        try:
            stat = (root / path).stat()
            stamp = [stat.st_size, stat.st_mtime_ns]
        except OSError:
            stamp = [-1, -1]  # a link that leads nowhere: check_image says so
        old = known.get(path)
        if old is not None and old[:2] == stamp:
            verdicts[path] = old
        else:
            verdicts[path] = [*stamp, check_image(root / path, max_pixels)]

    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="lit_cnn-scan") as pool:
        list(pool.map(check, paths))
    if any(verdicts[path] is not known.get(path) for path in paths):
        _save(store, max_pixels, {path: verdicts[path] for path in paths})
    return {path: str(verdicts[path][2]) for path in paths if verdicts[path][2] is not None}


def _name(root: Path) -> str:
    return hashlib.blake2b(str(root.resolve()).encode(errors="surrogateescape"), digest_size=8).hexdigest()


def _load(store: Path, max_pixels: int) -> dict[str, list[int | str | None]]:
    try:
        content = json.loads(store.read_text(encoding="utf-8"))
        if content["version"] == [_SCAN_VERSION, max_pixels]:
            return {path: v for path, v in content["files"].items() if isinstance(v, list) and len(v) == 3}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


def _save(store: Path, max_pixels: int, verdicts: dict[str, list[int | str | None]]) -> None:
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=store.parent, delete=False, encoding="utf-8") as file:
            json.dump({"version": [_SCAN_VERSION, max_pixels], "files": verdicts}, file)
        os.replace(file.name, store)  # noqa: PTH105 (the atomic one, by its own name)
    except OSError as error:
        log.info("verdicts on pictures could not be kept in %s: %s", store, error)
