"""Image folders with a cache, and the batches that they give."""

from __future__ import annotations

from pathlib import Path

import torch

from lit_cnn.data import Augment, Batch, ImageFolder
from lit_cnn.utils.files import cache_folder

CROPS = Augment(crop_scale=(0.2, 1.0), flip=0.5)
FLIPS = Augment(flip=0.5)


def cached_folder(root: Path, cache: str, augment: Augment = CROPS, **kwargs: object) -> ImageFolder:
    return ImageFolder(
        data_dir=str(root), batch_size=5, image_size=12, cache=cache, augment=augment, **{"workers": 2, **kwargs}
    )


def fed_batches(data: ImageFolder) -> dict[str, list[Batch]]:
    """The batches of an epoch of training and of validation."""
    data.setup("fit")
    return {"train": list(data.train_dataloader()), "val": list(data.val_dataloader())}


def same_batches(a: list[Batch], b: list[Batch]) -> bool:
    """Whether two lists of batches are equal bit for bit."""
    return len(a) == len(b) and all(
        all(torch.equal(x, y) for x, y in zip(p, q, strict=True)) for p, q in zip(a, b, strict=True)
    )


def store_files() -> list[str]:
    """The names of the files of all caches on disk."""
    return sorted(path.name for path in cache_folder().glob("pictures/*/*"))
