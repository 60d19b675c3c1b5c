"""Images in memory as a source for the loader, converted to the size and channels of the model."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_cnn.data.decoding.geometry import Size, height_width
from lit_cnn.data.loading.loader import gather
from lit_cnn.data.sampling import rows

MAX_CONVERTED = 1 << 29  # bytes: Fashion-MNIST at 224 x 224 would take 3 GB


class ArraySource:
    """Images in memory.

    Args:
        images: uint8 (N, C, H, W).
        targets: int64 (N,).
        prefix: Of the samples' names, which end in their index.
        channels: Of the images returned, 1 or 3.
        size: Their side, or height and width; images are converted once, here, unless that would take too much memory.
    """

    def __init__(self, images: Tensor, targets: Tensor, prefix: str, channels: int, size: Size) -> None:
        self.shape = (channels, *height_width(size))
        self.converted = len(images) * math.prod(self.shape) <= max(MAX_CONVERTED, images.numel())
        self.images = to_shape(images, channels, size) if self.converted else images
        self.targets, self.prefix = targets, prefix

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return e.g. ``test/123``."""
        return f"{self.prefix}/{index}"

    def tasks(self, indices: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function that gathers all images."""

        def fill() -> None:
            if self.converted:
                gather(self.images.numpy(), rows(indices), out)
            else:
                out.copy_(to_shape(self.images[rows(indices)], self.shape[0], self.shape[1:]))

        return [fill]


def to_shape(images: Tensor, channels: int, size: Size) -> Tensor:
    """Convert uint8 (N, C, H, W) to ``channels`` and ``size``: luma, antialiased bilinear, repetition."""
    sides, chunks = height_width(size), []
    for chunk in images.split(1024):  # floats take four times the memory
        if chunk.shape[1] == 3 and channels == 1:
            weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # ITU-R BT.601, as Pillow's mode L
            chunk = (chunk * weights).sum(1, keepdim=True).round().byte()
        if chunk.shape[-2:] != sides:
            resized = F.interpolate(chunk.float(), sides, mode="bilinear", antialias=True)
            chunk = resized.round().clamp(0, 255).byte()
        chunks.append(chunk.expand(-1, channels, -1, -1))
    return torch.cat(chunks) if chunks else images.new_empty(0, channels, *sides)
