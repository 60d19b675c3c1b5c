"""How images were prepared for another zoo's published weights: mean and standard deviation, size, crop, filter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lit_cnn.models._external import timm_module, torchvision_models
from lit_cnn.models._huggingface import CONFIG, hub_config, is_hub_name, read_config
from lit_cnn.utils.files import expand_home

Statistics = tuple[list[float], list[float]]  # mean and std per channel, in units of [0, 1]


class Preprocessing(NamedTuple):
    """How images were prepared for weights.

    Attributes:
        mean: per channel, in units of [0, 1].
        std: likewise.
        size: height and width in pixels; None: not known.
        resize_to: the shorter side in pixels before the centre was cropped to ``size``; None: not known, or the image
            was not cropped.
        interpolation: bilinear, bicubic …; empty: not known.
    """

    mean: list[float]
    std: list[float]
    size: tuple[int, int] | None = None
    resize_to: int | None = None
    interpolation: str = ""


def pretrained_statistics(name: str, channels: int) -> Statistics | None:
    """Mean and std, in units of [0, 1], that the weights of ``torchvision/NAME`` or ``timm/NAME`` expect.

    They are those of timm's ``pretrained_cfg`` and of torchvision's default weights. For another number of channels
    than 3 they are averages over the colours, as the first convolution sums over them.

    Args:
        name: of the model, with the zoo.
        channels: of the images.

    Returns:
        None for a model of no zoo, and for one without published weights.
    """
    found = _of_zoo(name)
    return None if found is None else _for_channels(found.mean, found.std, channels)


def pretrained_preprocessing(backbone: str, weights: str, channels: int) -> Preprocessing | None:
    """How images were prepared for ``model.weights``.

    Args:
        backbone: its name; a file of ``torchvision/NAME`` and ``timm/NAME`` alone has the zoo's mean and std.
        weights: ``hf:OWNER/NAME@COMMIT``, ``imagenet``, or a file; one beside a config.json of timm is described by it.
        channels: of the images; see :func:`pretrained_statistics`.

    Returns:
        None where nothing is known.
    """
    if is_hub_name(weights):
        found = of_config(hub_config(weights))
    elif weights == "imagenet":
        found = _of_zoo(backbone)
    else:
        found = of_config(read_config(Path(expand_home(weights)).with_name(CONFIG)))
        if found is None and (zoo := _of_zoo(backbone)) is not None:
            found = Preprocessing(zoo.mean, zoo.std)
    if found is None:
        return None
    mean, std = _for_channels(found.mean, found.std, channels)
    return found._replace(mean=mean, std=std)


def of_config(config: Mapping[str, Any]) -> Preprocessing | None:
    """What a config.json of timm says; None for others.

    Earlier versions wrote the ``pretrained_cfg`` at the top level.
    """
    cfg = config.get("pretrained_cfg", config)
    return _of_cfg(cfg) if isinstance(cfg, Mapping) else None


def _of_cfg(cfg: Mapping[str, Any]) -> Preprocessing | None:
    mean, std = _numbers(cfg.get("mean")), _numbers(cfg.get("std"))
    if not mean or len(mean) != len(std) or min(std) <= 0:
        return None
    size, crop = _numbers(cfg.get("input_size"))[-2:], cfg.get("crop_pct")
    if len(size) != 2 or min(size) < 1:
        return Preprocessing(mean, std)
    height, width = int(size[0]), int(size[1])
    resize_to = None
    if (
        cfg.get("crop_mode", "center") == "center"
        and height == width
        and isinstance(crop, int | float)
        and 0 < crop <= 1
    ):
        resize_to = math.floor(height / crop)  # as timm rounds it
    return Preprocessing(mean, std, (height, width), resize_to, str(cfg.get("interpolation", "")))


def _of_zoo(name: str) -> Preprocessing | None:
    """Of the default weights of ``torchvision/NAME``, or of ``timm/NAME`` or ``timm/NAME.TAG``."""
    zoo, _, short = name.partition("/")
    if zoo == "timm":
        cfg = timm_module().get_pretrained_cfg(short)
        return None if cfg is None else _of_cfg(cfg.to_dict())
    if zoo != "torchvision":
        return None
    try:
        found = torchvision_models().get_model_weights(short).DEFAULT.transforms()
    except (ValueError, AttributeError):  # no such model, or none of its weights are published
        return None
    mean, std = _numbers(found.mean), _numbers(found.std)
    if not mean or not std:
        return None
    side, shorter = int(found.crop_size[0]), int(found.resize_size[0])
    return Preprocessing(mean, std, (side, side), shorter, found.interpolation.value)


def _numbers(values: Any) -> list[float]:
    """Numbers of a file that anyone may have written; nothing where they are none."""
    if not isinstance(values, Sequence) or not all(isinstance(value, int | float) for value in values):
        return []
    return [float(value) for value in values]


def _for_channels(mean: list[float], std: list[float], channels: int) -> Statistics:
    if len(mean) == channels:
        return mean, std
    means = [round(sum(numbers) / len(numbers), 6) for numbers in (mean, std)]
    return [means[0]] * channels, [means[1]] * channels
