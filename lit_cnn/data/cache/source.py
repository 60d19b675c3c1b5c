"""Picture files read from a store of decoded pixels: the source of ``--data.cache ram`` and ``disk``."""

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
from lit_cnn.data.transforms.rng import CROP_OPS, crop_boxes, digest, hash_uniform
from lit_cnn.utils.console import Display

DECODER = f"3, Pillow {PIL.__version__}, torchvision {torchvision.__version__}, torch {torch.__version__}"


class CachedSource:
    """One part of a set of picture files, decoded once and for all.

    What is kept: for a part that random crops are cut from, whole pictures whose shorter side is at most ``short``
    pixels, and the crops are cut from these; else the finished pictures, the same bits that the files would give.

    Args:
        part: Name of the part; each has a store of its own.
        files: The pictures' files.
        rows: int64 (N,), which of them are kept; only these may be asked for.
        short: See above; 0: finished pictures.
        folder: Where stores are; None: in memory.
        workers: Threads that decode.
        display: Where to show the progress of decoding.
    """

    def __init__(
        self,
        part: str,
        files: FileSource,
        rows: Tensor,
        short: int,
        folder: Path | None,
        workers: int,
        display: Display | None,
    ) -> None:
        self.files, self.rows, self.short, self.folder = files, rows, short, folder
        self.targets, self.shape = files.targets, files.shape
        self._part, self._workers, self._display = part, workers, display
        self._place = torch.full((len(files),), -1, dtype=torch.int64)
        self._place[rows] = torch.arange(len(rows))

    def __len__(self) -> int:
        return len(self.files)

    def name(self, row: int) -> str:
        """Return the path relative to the set's folder."""
        return self.files.name(row)

    @cached_property
    def store(self) -> pixel_store.Store:
        """The pixels: opened, or decoded now."""
        files, geometry, short = self.files, self.files.geometry, self.short
        paths = [files.paths[row] for row in self.rows.tolist()]

        def whole(path: Path) -> np.ndarray:
            return read_bounded(path, geometry, short)

        def finished(path: Path) -> np.ndarray:
            return np.ascontiguousarray(read_image(path, geometry))

        form = f"{geometry}, {f'whole, shorter side up to {short}' if short else 'finished'}"
        recipe = pixel_store.Recipe(files.root, paths, whole if short else finished, form, self._workers, self._display)
        if self.folder is None:
            return pixel_store.in_memory(recipe)
        place = digest(files.root.resolve(), self._part, form)
        return pixel_store.on_disk(recipe, self.folder / place, DECODER)

    def tasks(self, rows: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function that gathers all finished pictures, or one a crop."""
        places = self._place[rows]
        if not self.short:
            return [lambda: gather(self.store.together(places.tolist()), places, out.flatten(1))]
        if epoch is None:  # statistics over the training part: seldom, and not of crops
            return self.files.tasks(rows, out, None)
        augment, size = self.files.augment, self.shape[1]
        assert augment.crop_scale is not None  # else there are no whole pictures
        heights, widths, _ = torch.from_numpy(self.store.shapes[places.numpy()].astype(np.int64)).unbind(1)
        draws = hash_uniform(self.files.seed, epoch, rows, CROP_OPS)
        boxes = crop_boxes(draws, heights, widths, augment.crop_scale, augment.crop_ratio).tolist()

        def task(i: int, place: int) -> Callable[[], None]:
            def cut() -> None:
                out[i].numpy()[...] = crop_resized(self.store.picture(place), boxes[i], size)

            return cut

        return [task(i, place) for i, place in enumerate(places.tolist())]
