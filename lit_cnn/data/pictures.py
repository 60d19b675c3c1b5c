"""Some images of a split, as the network gets them before normalisation and without augmentation: for pictures."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import numpy as np
import torch

from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.decode import read_decoded
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.feature_source import FeatureSource
from lit_cnn.data.loading.loader import BatchLoader, Source
from lit_cnn.data.split import Split
from lit_cnn.errors import UserError

_CHUNK = 64  # images at a time, which bounds the memory


def read_images(data: ImageDataModule, split: str, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the position in ``indices`` and the image, uint8 (C, H, W); those that cannot be read are left out.

    Args:
        data: The data module, set up for the split.
        split: train, val, test or predict.
        indices: Of the samples, as batches have them.
    """
    source = find_split(data, split).source
    if isinstance(source, FeatureSource):
        source = source.source
    wanted = torch.as_tensor(list(indices), dtype=torch.int64)
    for start in range(0, len(wanted), _CHUNK):
        part = wanted[start : start + _CHUNK]
        loader = BatchLoader(source, part, batch_size=len(part), workers=data._num_threads())
        try:
            batch = next(iter(loader))
        except (UserError, OSError):  # of an image that has become unreadable; the others of this part are lost, too
            continue
        yield from enumerate(batch.image.numpy(), start)


def find_split(data: ImageDataModule, split: str) -> Split:
    """Return a split of a data module by its name: train, val, test or predict. No other one is built.

    Raises:
        UserError: There is no such split.
    """
    return data._split("test" if split == "predict" else split)


def some_images(
    data: ImageDataModule, split: str, most: int, only: Container[str] | None = None
) -> tuple[Source, torch.Tensor]:
    """Set a split up, and choose images of it.

    Args:
        data: The data module; for train, set up already.
        split: train, val or test.
        most: Images, evenly spaced; 0: all.
        only: Their names; None: any.

    Returns:
        The source of the split, and positions in it, int64 (N,).
    """
    if split != "train":
        data.setup("validate" if split == "val" else "test")
    found = find_split(data, split)
    indices = found.indices
    if 0 < most < len(indices):
        indices = indices[torch.linspace(0, len(indices) - 1, most).round().long()]
    if only is not None:
        indices = indices[[data.sample_name(split, i) in only for i in indices.tolist()]]
    return found.source, indices


def decoded_image(source: FileSource, index: int) -> np.ndarray:
    """Read an image of a split in its own size, uint8 (H, W, C), as it is before it is resized for evaluation.

    Raises:
        UserError: It cannot be read.
    """
    return read_decoded(source.image_file(index), source.geometry)
