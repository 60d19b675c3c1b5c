"""Pairs of image files, and single ones, in their own size, as sources for the loader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_cnn.data.decoding.decode import read_decoded, read_size
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.data.sampling import rows
from lit_cnn.data.transforms.rng import counter_uniform
from lit_cnn.errors import UnreadableImageError

CROP = ("pair/y", "pair/x")  # random numbers of a crop


class Pair(NamedTuple):
    """Two images of one scene: paths relative to the folder of the data set, and the height and width of both."""

    hazy: str
    clear: str
    size: tuple[int, int]


def cut(pixels: np.ndarray, size: tuple[int, int], place: tuple[float, float]) -> np.ndarray:
    """Cut a window out of an image; one that is smaller than the window is mirrored at its borders first.

    Args:
        pixels: uint8 (H, W, C).
        size: Height and width of the window.
        place: Where it is, from top to bottom and from left to right, each in [0, 1).

    Returns:
        uint8 (*size, C).
    """
    missing = [max(0, wanted - length) for wanted, length in zip(size, pixels.shape[:2], strict=True)]
    if any(missing):
        pixels = np.pad(pixels, [*((short // 2, short - short // 2) for short in missing), (0, 0)], mode="symmetric")
    top, left = (
        int(share * (length - wanted + 1)) for share, length, wanted in zip(place, pixels.shape[:2], size, strict=True)
    )
    return pixels[top : top + size[0], left : left + size[1]]


class PairSource:
    """Pairs of images as one image of twice the channels, so that whatever is done to one side is done to the other.

    Args:
        root: Folder that the paths are relative to.
        pairs: The samples.
        channels: C of each side, 1 or 3.
        max_pixels: Larger images are refused.
        crop: Height and width of a window that is cut out of both sides, at random in training; None: whole images, of
            which a batch can hold one.
        seed: The run's seed; decides the windows.
    """

    def __init__(
        self,
        root: Path,
        pairs: Sequence[Pair],
        channels: int,
        max_pixels: int,
        crop: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        self.root, self.pairs, self.channels = root, list(pairs), channels
        self.geometry = Geometry(1, channels, max_pixels=max_pixels)  # whose size is not used
        self.crop, self.seed = crop, seed
        self.shape = (2 * channels, *(crop or (1, 1)))
        self.targets = torch.zeros(len(self.pairs), dtype=torch.int64)  # replaced by the clear image on the device

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """Return the path of the hazy image."""
        return self.pairs[index].hazy

    def shape_of(self, indices: Tensor) -> tuple[int, ...]:
        """Return channels, height and width of these images."""
        if self.crop is not None or len(indices) == 0:
            return self.shape
        return (2 * self.channels, *self.pairs[int(rows(indices)[0])].size)

    def tasks(self, indices: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function per pair, see ``Source.tasks``; without an epoch windows are in the middle."""
        if epoch is None:
            places = torch.full((2, len(indices)), 0.5)
        else:
            places = counter_uniform(self.seed, epoch, indices, CROP)

        def task(i: int, index: int) -> Callable[[], None]:
            def decode() -> None:
                pair = self.pairs[index]
                place = float(places[0, i]), float(places[1, i])
                for side, path in enumerate((pair.hazy, pair.clear)):
                    pixels = read_decoded(self.root / path, self.geometry)
                    if pixels.shape[:2] != pair.size:
                        raise UnreadableImageError(
                            str(self.root / path), "its size has changed since the run began", "start the run again"
                        )
                    if self.crop is not None:
                        pixels = cut(pixels, self.crop, place)
                    part = slice(side * self.channels, (side + 1) * self.channels)
                    out[i, part].numpy()[...] = pixels.transpose(2, 0, 1)

            return decode

        return [task(i, index) for i, index in enumerate(rows(indices).tolist())]


class WholeSource:
    """Single images in their own size, one in a batch; those that cannot be read are one black pixel.

    Args:
        paths: The samples.
        targets: int64 (N,).
        channels: 1 or 3.
        max_pixels: Larger images cannot be read.

    Attributes:
        broken: Path of an image that could not be read to the reason.
    """

    def __init__(self, paths: Sequence[str], targets: Tensor, channels: int, max_pixels: int) -> None:
        self.paths, self.targets, self.channels = list(paths), targets, channels
        self.geometry = Geometry(1, channels, max_pixels=max_pixels)  # whose size is not used
        self.shape = (channels, 1, 1)
        self.broken: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """Return the path."""
        return self.paths[index]

    def shape_of(self, indices: Tensor) -> tuple[int, ...]:
        """Return channels, height and width of an image."""
        if len(indices) == 0:
            return self.shape
        path = self.paths[int(indices[0])]
        try:
            return (self.channels, *read_size(path, self.geometry.max_pixels))
        except UnreadableImageError as error:
            self.broken[path] = error.reason
            return self.shape

    def tasks(self, indices: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function per image, see ``Source.tasks``."""

        def task(i: int, path: str) -> Callable[[], None]:
            def decode() -> None:
                try:
                    pixels = read_decoded(path, self.geometry) if path not in self.broken else None
                except UnreadableImageError as error:
                    self.broken[path], pixels = error.reason, None
                out[i].numpy()[...] = 0 if pixels is None else pixels.transpose(2, 0, 1)

            return decode

        return [task(i, self.paths[index]) for i, index in enumerate(indices.tolist())]
