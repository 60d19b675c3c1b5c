"""Normalisation: mean and standard deviation per channel, in units of [0, 1], of ImageNet or of any data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from lightning.pytorch import Trainer

from lit_cnn.data.loading.loader import Batch
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say

Statistics = tuple[list[float], list[float]]  # mean and std per channel

# Of the ImageNet training images, as torchvision's and timm's pretrained models expect them.
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet(channels: int) -> Statistics:
    """Return ImageNet's mean and std; for one channel their averages, as timm does for grey weights."""
    if channels == 3:
        return list(_IMAGENET_MEAN), list(_IMAGENET_STD)
    return [sum(_IMAGENET_MEAN) / 3], [sum(_IMAGENET_STD) / 3]


def of_channels(published: tuple[Sequence[float], Sequence[float]], channels: int) -> Statistics | None:
    """Return published mean and std for a number of channels, or None.

    The std of grey images does not follow from those of the colours.
    """
    mean, std = published
    if len(mean) == channels:
        return list(mean), list(std)
    return (list(mean) * channels, list(std) * channels) if len(mean) == 1 else None


def choose(
    normalize: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    published: tuple[Sequence[float], Sequence[float]] | None,
    channels: int,
) -> Statistics | None:
    """Return the mean and std that the settings of ``ImageDataModule`` name; None: compute them from the data."""
    if mean is not None and std is not None:
        return list(mean), list(std)
    if normalize == "imagenet":
        if channels in (1, 3):
            return imagenet(channels)
        say(f"ImageNet has no mean of {channels} channels: computed over the training images")
    return of_channels(published, channels) if normalize == "dataset" and published is not None else None


def compute(batches: Iterable[Batch]) -> Statistics:
    """Return mean and std over all pixels of uint8 images; summed in integers, so exact to the last rounding.

    Raises:
        UserError: A channel is constant over all images, so its std is 0.
    """
    count, total, squares = 0, torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    for batch in batches:
        pixels = batch.image.transpose(0, 1).flatten(1).to(torch.int64)
        count += pixels.shape[1]
        total, squares = total + pixels.sum(1), squares + (pixels * pixels).sum(1)
    mean = total.double() / count
    std = (squares.double() / count - mean**2).clamp(min=0).sqrt()
    if float(std.min()) == 0:
        raise UserError("the training images are all of one colour in some channel: set `data.mean` and `data.std`")
    return (mean / 255).tolist(), (std / 255).tolist()


def on_rank_zero(statistics: Callable[[], Statistics], trainer: Trainer | None) -> Statistics:
    """Return ``statistics()``, called on rank zero only and sent to the others: it may read every training image.

    Collective: every rank of ``trainer`` has to call it.

    Raises:
        UserError: On all ranks, where rank zero raised one.
    """
    if trainer is None or trainer.world_size == 1:
        return statistics()
    found: Statistics | str = ""
    if trainer.is_global_zero:
        try:
            found = statistics()
        except UserError as error:
            found = str(error)
    found = trainer.strategy.broadcast(found)
    if isinstance(found, str):
        raise UserError(found)
    return found
