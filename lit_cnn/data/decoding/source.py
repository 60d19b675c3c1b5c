"""Image files as a source for the loader, decoded on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lit_cnn.data.decoding.decode import failure_reason, read_image
from lit_cnn.data.decoding.formats import ImageFile
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.data.sampling import rows
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform
from lit_cnn.errors import UnreadableImageError, UserError


@dataclass(frozen=True)
class LabelledFile:
    """An image file: its path relative to the folder of the data set, with forward slashes, and its class.

    Of an image with several labels, ``label`` is their text and ``labels`` are they.
    """

    path: str
    label: str
    labels: tuple[str, ...] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes of the image."""
        return (self.label,) if self.labels is None else self.labels


def file_size(path: Path) -> int:
    """Return a file's size in bytes.

    Raises:
        UserError: The file is missing or inaccessible.
    """
    try:
        return path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read image {path}: {failure_reason(error)}; fix or remove it") from error


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
        self.shape = geometry.shape

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

        return [task(i, index) for i, index in enumerate(rows(indices).tolist())]


class TolerantSource(FileSource):
    """FileSource that leaves an image black where its file cannot be read.

    Attributes:
        broken: path of such a file to the reason.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.broken: dict[str, str] = {}

    def tasks(self, indices: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function per image, see ``Source.tasks``."""

        def tolerant(i: int, index: int, decode: Callable[[], None]) -> Callable[[], None]:
            def try_to_decode() -> None:
                try:
                    decode()
                except UnreadableImageError as error:
                    out[i].numpy()[...] = 0
                    self.broken[self.paths[index]] = error.reason

            return try_to_decode

        given = rows(indices).tolist()
        tasks = super().tasks(indices, out, epoch)
        return [tolerant(i, index, task) for i, (index, task) in enumerate(zip(given, tasks, strict=True))]
