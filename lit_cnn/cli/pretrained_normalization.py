"""Normalization of images as the weights that a run starts from expect it, where the user does not name another."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from jsonargparse import Namespace

from lit_cnn.checkpoint.record import CheckpointRecord, read_preprocessing
from lit_cnn.cli.argv import Arguments
from lit_cnn.data import ImageDataModule
from lit_cnn.data.normalization import imagenet
from lit_cnn.data.registry import find_dataset
from lit_cnn.models._pretrained_statistics import Statistics, pretrained_statistics

SETTINGS = ("data.normalize", "data.mean", "data.std")
SOURCE = "weights"  # of these settings, in the table of settings


def set_normalization(
    config: Namespace, record: CheckpointRecord | None, arguments: Arguments, configs: Mapping[str, Iterable[str]]
) -> set[str]:
    """Set ``data.mean`` and ``data.std`` to those of the weights of a ``torchvision/`` or ``timm/`` backbone; in place.

    Of a file that lit-cnn wrote they are those that it was trained with, else those that the zoo publishes with the
    network's weights. Nothing changes without weights, for a resumed run, where a flag or a config names a
    normalization, and where the data set's default is the same.

    Args:
        config: parsed settings of ``fit``.
        record: the checkpoint that the run is resumed from, if any.
        arguments: the command line.
        configs: dotted names of the settings in each config file.

    Returns:
        Names of the settings that were set.
    """
    given = arguments.names().union(*configs.values())
    model, data = config.model, config.data.init_args
    if record is not None or not model.weights or any(name in given for name in SETTINGS) or "mean" not in data:
        return set()
    channels = data.get("channels") or _default_channels(str(config.data.class_path))
    if channels is None or not model.backbone.startswith(("torchvision/", "timm/")):
        return set()
    found = _of_checkpoint(model.weights, channels) or pretrained_statistics(model.backbone, channels)
    if found is None or (data.normalize == "imagenet" and found == imagenet(channels)):
        return set()
    data.mean, data.std = found
    return {"data.mean", "data.std"}


def _of_checkpoint(weights: str, channels: int) -> Statistics | None:
    """Mean and std of the run that wrote a checkpoint; None for any other file, and for another number of channels."""
    stored = read_preprocessing(Path(weights).expanduser()) or {}
    mean, std = stored.get("mean"), stored.get("std")
    return (list(mean), list(std)) if mean and std and len(mean) == len(std) == channels else None


def _default_channels(class_path: str) -> int | None:
    """Channels of the images of a data set, where they are no setting: known without building it."""
    kind: Any = find_dataset(class_path)
    if kind is None or not issubclass(kind, ImageDataModule) or inspect.isabstract(kind):
        return None
    try:
        return int(kind.default_shape(cast(Any, kind))[1])
    except (AttributeError, TypeError):  # it depends on the settings
        return None
