"""Preprocessing as the weights that a run starts from expect it, where the user does not name another."""

from __future__ import annotations

import inspect
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from jsonargparse import Namespace

from lit_cnn.checkpoint.record import CheckpointRecord, read_preprocessing
from lit_cnn.cli.argv import Arguments
from lit_cnn.data import ImageDataModule
from lit_cnn.data.normalization import Statistics, imagenet
from lit_cnn.data.registry import find_dataset
from lit_cnn.models._huggingface import architecture, hub_config, is_hub_name, pin, timm_hub_name
from lit_cnn.models._pretrained_statistics import Preprocessing, pretrained_preprocessing
from lit_cnn.utils.console import say

SETTINGS = ("data.normalize", "data.mean", "data.std")
SOURCE = "weights"  # of these settings, in the table of settings
_FILTERS = ("", "bilinear", "random")  # of resizing, which need no word


def pin_weights(config: Namespace, record: CheckpointRecord | None, given: Container[str]) -> set[str]:
    """Pin weights of the hub to a commit, so that a repeated run has the same, and choose their backbone; in place.

    ``imagenet`` of a ``timm/`` backbone is the hub's name of its default weights.

    Args:
        config: parsed settings of ``fit``.
        record: the checkpoint that the run is resumed from, if any: it brings the weights.
        given: dotted names of the settings that the user gave.

    Returns:
        Names of the settings that follow from the weights.

    Raises:
        UserError: the name cannot be resolved.
    """
    model = config.model
    if record is not None or not model.weights:
        return set()
    if model.weights == "imagenet" and model.backbone.startswith("timm/"):
        model.weights = timm_hub_name(model.backbone)
    if not is_hub_name(model.weights):
        return set()
    model.weights = pin(model.weights)
    found = None if "model.backbone" in given else architecture(hub_config(model.weights))
    if found is None:
        return set()
    model.backbone = found
    return {"model.backbone"}


def set_normalization(
    config: Namespace, record: CheckpointRecord | None, arguments: Arguments, configs: Mapping[str, Iterable[str]]
) -> set[str]:
    """Set ``data.mean``, ``data.std`` and, of image files, size and crop to those of the weights; in place.

    Of a file that lit-cnn wrote they are those that it was trained with, of weights by name the published ones, and of
    other files of a ``torchvision/`` or ``timm/`` backbone the zoo's mean and std. Nothing changes without weights, for
    a resumed run, where a flag or a config names the setting, and where the data set's default is the same.

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
    if record is not None or not model.weights or "mean" not in data:
        return set()
    channels = data.get("channels") or _default_channels(str(config.data.class_path))
    if channels is None:
        return set()
    zoo = model.backbone.startswith(("torchvision/", "timm/"))
    of_checkpoint = _of_checkpoint(model.weights, channels) if zoo and not is_hub_name(model.weights) else None
    found = of_checkpoint or pretrained_preprocessing(model.backbone, model.weights, channels)
    if found is None:
        return set()
    done = _set_geometry(data, found, given)
    if any(name in given for name in SETTINGS):
        _tell_mismatch(data, (found.mean, found.std), channels)
    elif data.normalize != "imagenet" or (found.mean, found.std) != imagenet(channels):
        data.mean, data.std = found.mean, found.std
        done |= {"data.mean", "data.std"}
    return done


def _set_geometry(data: Namespace, found: Preprocessing, given: Container[str]) -> set[str]:
    """Size and crop, of data sets that resize image files."""
    done: set[str] = set()
    if found.size is None or "eval_crop" not in data:
        return done
    if "data.image_size" not in given:
        height, width = found.size
        data.image_size = height if height == width else (height, width)
        done.add("data.image_size")
    crops = data.eval_resize == "center_crop" and data.get("resize") in (None, "crop")
    if crops and found.resize_to is not None and "data.eval_crop" not in given:
        share = round(found.size[0] / found.resize_to, 6)
        if share != data.eval_crop and (data.eval_crop is not None or share != 0.875):
            data.eval_crop = share
            done.add("data.eval_crop")
    if found.interpolation not in _FILTERS:
        say(f"note: the weights expect {found.interpolation} resizing; images are resized by the bilinear filter")
    return done


def _tell_mismatch(data: Namespace, expected: Statistics, channels: int) -> None:
    """One line where the user's normalization is known and is not that of the weights."""
    if data.mean is not None and data.std is not None:
        own, name = (list(data.mean), list(data.std)), f"`data.mean` is {_short(data.mean)}, std {_short(data.std)}"
    elif data.normalize == "imagenet" and channels in (1, 3):
        own, name = imagenet(channels), "`data.normalize` is imagenet"
    else:
        own, name = ([], []), f"`data.normalize` is {data.normalize}"
    if own != expected:
        mean, std = map(_short, expected)
        say(f"note: the weights expect mean {mean}, std {std}; {name}, which is kept: leave it out to use theirs")


def _short(numbers: Iterable[float]) -> str:
    return "[" + ", ".join(f"{number:.4g}" for number in numbers) + "]"


def _of_checkpoint(weights: str, channels: int) -> Preprocessing | None:
    """Mean and std of the run that wrote a checkpoint; None for any other file, and for another number of channels."""
    stored = read_preprocessing(Path(weights).expanduser()) or {}
    mean, std = stored.get("mean"), stored.get("std")
    return Preprocessing(list(mean), list(std)) if mean and std and len(mean) == len(std) == channels else None


def _default_channels(class_path: str) -> int | None:
    """Channels of the images of a data set, where they are no setting: known without building it."""
    kind: Any = find_dataset(class_path)
    if kind is None or not issubclass(kind, ImageDataModule) or inspect.isabstract(kind):
        return None
    try:
        return int(kind.default_shape(cast(Any, kind))[1])
    except (AttributeError, TypeError):  # it depends on the settings
        return None
