"""Samples from the cache of decoded images: the source for the setting ``cache`` "ram" and "disk"."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from torch import Tensor

from lit_cnn.data.cache import pixel_store
from lit_cnn.data.decoding.decode import crop_resized, read_bounded, read_image
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.loading.loader import gather
from lit_cnn.data.sampling import rows
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform, crop_boxes, crop_ratio
from lit_cnn.utils.console import Display
from lit_cnn.utils.files import digest

DECODER = f"3, Pillow {PIL.__version__}, torchvision {torchvision.__version__}, torch {torch.__version__}"


class CachedSource:
    """One split of a data set of image files, decoded once.

    It caches, for random crops, uncropped images whose shorter side is at most ``short`` pixels, and the crops are
    taken from these; otherwise the resized images, with the same bits that decoding the files gives.

    Args:
        split: Name of the split; each has its own cache.
        files: The image files.
        indices: int64 (N,), which of them are cached; only these may be read.
        short: See above; 0: resized images.
        folder: Where caches are; None: in memory.
        workers: Decoding threads.
        display: Shows the progress of decoding.
    """

    def __init__(
        self,
        split: str,
        files: FileSource,
        indices: Tensor,
        short: int,
        folder: Path | None,
        workers: int,
        display: Display | None,
    ) -> None:
        self.files, self.indices, self.short, self.folder = files, indices, short, folder
        self.targets, self.shape = files.targets, files.shape
        self._split, self._workers, self._display = split, workers, display
        self._position = torch.full((len(files),), -1, dtype=torch.int64)
        self._position[indices] = torch.arange(len(indices))

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """Return the path relative to the folder of the data set."""
        return self.files.name(index)

    @cached_property
    def cache(self) -> pixel_store.PixelCache:
        """The decoded images: opened, or decoded now."""
        files, geometry, short = self.files, self.files.geometry, self.short
        paths = [files.paths[index] for index in self.indices.tolist()]

        def uncropped(path: Path) -> np.ndarray:
            return read_bounded(path, geometry, short)

        def resized(path: Path) -> np.ndarray:
            return np.ascontiguousarray(read_image(path, geometry))

        # Part of the name of the folder, so these words must not change.
        format_key = f"{geometry}, {f'whole, shorter side up to {short}' if short else 'finished'}"
        decode = uncropped if short else resized
        spec = pixel_store.CacheSpec(files.root, paths, decode, format_key, self._workers, self._display)
        if self.folder is None:
            return pixel_store.in_memory(spec)
        name = digest(files.root.resolve(), self._split, format_key)
        return pixel_store.on_disk(spec, self.folder / name, DECODER)

    def tasks(self, indices: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function that gathers all resized images, or one function per crop."""
        positions = self._position[rows(indices)]
        if not self.short:
            return [lambda: gather(self.cache.as_array(positions.tolist()), positions, out.flatten(1))]
        if epoch is None:  # statistics of the training split: rare, and not of crops
            return self.files.tasks(indices, out, None)
        augment, size = self.files.augment, (self.shape[1], self.shape[2])
        assert augment.crop_scale is not None  # otherwise there are no uncropped images
        heights, widths, _ = torch.from_numpy(self.cache.shapes[positions.numpy()].astype(np.int64)).unbind(1)
        draws = counter_uniform(self.files.seed, epoch, indices, CROP_OPS)
        ratio = crop_ratio(augment.crop_ratio, *size)
        boxes = crop_boxes(draws, heights, widths, augment.crop_scale, ratio).tolist()

        def task(i: int, position: int) -> Callable[[], None]:
            def crop() -> None:
                out[i].numpy()[...] = crop_resized(self.cache.image(position), boxes[i], size)

            return crop

        return [task(i, position) for i, position in enumerate(positions.tolist())]
