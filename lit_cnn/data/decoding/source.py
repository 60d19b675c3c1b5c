"""Find image files in folders, and decode them as a source for the loader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from lit_cnn.data.decoding.decode import Geometry, failure_reason, read_image
from lit_cnn.data.decoding.formats import EXTENSIONS, ImageFile
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform
from lit_cnn.errors import UserError


@dataclass(frozen=True)
class LabelledFile:
    """An image file: its path relative to the folder of the data set, with forward slashes, and its class."""

    path: str
    label: str


def visible_folders(folder: Path) -> list[str]:
    """Return the names of the subfolders (or links to some), sorted, without hidden ones.

    Raises:
        UserError: A link points to ``folder`` or one above it, so that its files would be counted twice.
    """
    try:
        with os.scandir(folder) as entries:
            visible = [e for e in entries if not e.name.startswith(".")]
            # DirEntry.is_dir raises on a link to itself, Path.is_dir does not.
            found = [e for e in visible if (Path(e.path).is_dir() if e.is_symlink() else e.is_dir())]
    except OSError as error:
        _unreadable(error)
    here = folder.resolve() if any(e.is_symlink() for e in found) else folder
    for entry in found:
        if entry.is_symlink() and here.is_relative_to(target := Path(entry.path).resolve()):
            raise UserError(f"{entry.path} is a link to {target}, the folder it is in or one above it: remove it")
    return sorted(entry.name for entry in found)


def file_size(path: Path) -> int:
    """Return a file's size in bytes.

    Raises:
        UserError: The file is missing or inaccessible.
    """
    try:
        return path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read image {path}: {failure_reason(error)}; fix or remove it") from error


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(f"cannot list folder {error.filename}: {error.strerror}") from error


def find_image_files(folder: Path) -> Iterator[str]:
    """Yield the image files below ``folder`` as relative paths with forward slashes, in no particular order.

    Hidden files and folders are skipped. Links to folders inside are not followed: they may form a cycle.
    """
    for root, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(EXTENSIONS):
                yield Path(root, name).relative_to(folder).as_posix()


class FileSource:
    """Samples in image files, decoded on demand.

    Args:
        root: Folder that the files' paths are relative to.
        paths: One path per sample.
        targets: int64 (N,).
        geometry: Size and channels of the results.
        augment: Only its random resized crop is done here, because it needs the image's own size.
        seed: The run's seed; decides the crops.
    """

    def __init__(
        self, root: Path, paths: Sequence[str], targets: Tensor, geometry: Geometry, augment: Augment, seed: int
    ) -> None:
        self.root, self.paths, self.targets = root, list(paths), targets
        self.geometry, self.augment, self.seed = geometry, augment, seed
        self.shape = (geometry.channels, geometry.size, geometry.size)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """Return the path relative to the folder of the data set."""
        return self.paths[index]

    def image_file(self, index: int) -> ImageFile:
        """Return the path or the content of a sample's file."""
        return self.root / self.paths[index]

    def tasks(self, indices: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function per image, see ``Source.tasks``."""
        scale, ratio = self.augment.crop_scale, self.augment.crop_ratio
        draws: Tensor | None = None
        if epoch is not None and scale is not None:
            draws = counter_uniform(self.seed, epoch, indices, CROP_OPS)

        def task(i: int, index: int) -> Callable[[], None]:
            def decode() -> None:
                crop = None if draws is None else draws[:, i]
                pixels = read_image(self.image_file(index), self.geometry, crop, scale or (1.0, 1.0), ratio)
                # The numpy view of the pinned or plain batch: no second copy.
                out[i].numpy()[...] = pixels

            return decode

        return [task(i, index) for i, index in enumerate(indices.tolist())]
