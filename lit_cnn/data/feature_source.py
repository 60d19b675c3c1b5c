"""Features of images as a source for the loader, in the place of the images that they were computed from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.loading.loader import BatchLoader, Source, gather
from lit_cnn.data.sampling import rows
from lit_cnn.data.split import Split
from lit_cnn.errors import UserError
from lit_cnn.utils import memory
from lit_cnn.utils.files import cache_folder

IN_MEMORY = 1 << 30  # bytes: larger arrays of features are on the disk


class FeatureSource:
    """Features of one split, with the names and targets of its images.

    Args:
        source: Of the images.
        indices: int64 (N,), the samples that have features; only these may be read.
        features: float (N, D), in the order of ``indices``.
    """

    def __init__(self, source: Source, indices: Tensor, features: np.ndarray) -> None:
        self.source, self.features = source, features
        self.targets, self.shape = source.targets, features.shape[1:]
        self.dtype = torch.from_numpy(features[:0]).dtype
        self._row = torch.full((len(source),), -1, dtype=torch.int64)
        self._row[indices] = torch.arange(len(indices))

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        """Return the name of the image."""
        return self.source.name(index)

    def rows(self, indices: Tensor) -> Tensor:
        """Return the positions of samples in ``features``, int64 (N,)."""
        return self._row[rows(indices)]

    def tasks(self, indices: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function that gathers all features; ``out`` is of ``dtype``."""
        return [lambda: gather(self.features, self.rows(indices), out)]


def random_images(data: ImageDataModule) -> str:
    """Return why a training image is not the same in every epoch; empty if it is."""
    for hook in ("on_before_batch_transfer", "on_after_batch_transfer", "transfer_batch_to_device"):
        if getattr(type(data), hook) is not getattr(ImageDataModule, hook):
            return f"{type(data).__name__} changes images in {hook}"
    if changes := data.augment.changes():
        return f"training images are augmented (`data.augment.{changes[0]}`): `data.augment=null` turns that off"
    return ""


def image_batches(
    data: ImageDataModule, name: str, rank: int = 0, world_size: int = 1, batch_size: int | None = None
) -> BatchLoader:
    """Return batches of the images of a split, each once and without augmentation, in the order that is read fastest.

    Args:
        data: The data module, set up.
        name: Of the split.
        rank: Which part of the batches: ``rank``, ``rank + world_size``, and so on.
        world_size: Number of parts.
        batch_size: Images per batch; by default that of evaluation.
    """
    loader = data._loader(name)
    indices = data._reading_order(loader.indices)
    size = data._eval_batch_size(len(indices)) if batch_size is None else batch_size
    return BatchLoader(
        loader.source, indices, batch_size=size, rank=rank, world_size=world_size, workers=loader.workers,
        pin=loader.pin,
    )  # fmt: skip


def replace_images(data: ImageDataModule, name: str, width: int, dtype: torch.dtype) -> FeatureSource:
    """Replace the images of a split by features, which are 0 until they are written to the result.

    Args:
        data: The data module, set up.
        name: Of the split.
        width: Number D of features.
        dtype: Of the features: float64 is kept, any other type as float32, which is exact.

    Raises:
        UserError: They are too large for the memory, and the disk is full or cannot be written to.
    """
    split = data._split(name)
    kind = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
    source = FeatureSource(split.source, split.indices, _zeros((len(split.indices), width), kind))
    data._splits[name] = Split(source, split.indices)
    return source


def restore_images(data: ImageDataModule) -> None:
    """Undo :func:`replace_images` for all splits."""
    for name, split in data._splits.items():
        if isinstance(split.source, FeatureSource):
            data._splits[name] = Split(split.source.source, split.indices)


def _zeros(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    size = shape[0] * shape[1] * dtype.itemsize
    if size <= min(IN_MEMORY, memory.available() // 4):
        return np.zeros(shape, dtype)
    folder = cache_folder() / "features"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # nothing is left over however the process ends
            _allocate(file.fileno(), size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise UserError(
            f"cannot keep {memory.format_bytes(size)} of features in {folder}: {error.strerror or error}; make room, "
            "set LIT_CNN_CACHE to another folder, or set `model.cache_features=false`"
        ) from error


def _allocate(descriptor: int, size: int) -> None:
    """Reserve the disk: a page of a mapped file that finds none would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
