"""Settings of ``fit`` on a folder of images that the user leaves open, by what is in the folder."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Mapping
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.pretrained_normalization import SOURCE as WEIGHTS
from lit_cnn.cli.pretrained_normalization import pin_weights, set_normalization
from lit_cnn.cli.validation import LAUNCHED
from lit_cnn.data import ImageDataModule, ImageFolder
from lit_cnn.data.registry import find_dataset
from lit_cnn.data.summary import Summary, summarize
from lit_cnn.errors import UserError
from lit_cnn.models import get_model
from lit_cnn.models._hub_cache import is_cached
from lit_cnn.models._input_check import on_meta, output_shape, typical_input
from lit_cnn.optim.factory import default_lr
from lit_cnn.tuner import defaults
from lit_cnn.utils import run_log

SOURCE = "the images"  # of a setting, in the table of settings


def choose_settings(
    config: Namespace, arguments: Arguments, record: CheckpointRecord | None, configs: Mapping[str, Iterable[str]]
) -> dict[str, set[str]]:
    """Set what is left open: by the images, where neither a config nor a checkpoint says how to train; in place.

    A config is an experiment of its own, whose open settings keep their fixed defaults. Mean and std are those that the
    starting weights expect, and a learning rate that is open still is the optimizer's.

    Args:
        config: parsed settings of ``fit``.
        arguments: the command line.
        record: the checkpoint that the run is resumed from, if any.
        configs: dotted names of the settings in each config file.

    Returns:
        Dotted names of what follows from the images and from the weights, by the source that the table names.

    Raises:
        UserError: the images cannot be read.
    """
    kind, chosen = find_dataset(str(config.data.class_path)), {}
    of_weights = pin_weights(config, record, arguments.names().union(*configs.values()))
    if record is None and not arguments.configs and kind is not None and issubclass(kind, ImageFolder):
        chosen = _for_images(config, arguments, of_weights)
    for name, value in chosen.items():
        _set(config, name, value)
    if config.model.lr is None:
        config.model.lr = default_lr(config.model.optimizer)
    if "model.weights" in chosen:  # imagenet, in a cache
        of_weights |= pin_weights(config, record, {"model.backbone"})
    of_weights |= set_normalization(config, record, arguments, configs)
    return {SOURCE: chosen.keys() - of_weights, WEIGHTS: of_weights}


def _for_images(config: Namespace, arguments: Arguments, others: Iterable[str]) -> dict[str, Any]:
    """Settings that suit the images, without those that are flags, and ``others``."""
    found = _summary(config)
    given = {name: _value(config, name) for name in {*arguments.names(), *others}}
    if _value(config, "trainer.max_steps") not in (None, -1):
        given.setdefault("trainer.max_epochs", None)
    channels = config.data.init_args.channels or (1 if found.grey else 3)
    args = config.model.backbone_args or {}

    def size_of(name: str, size: int) -> int:
        return _fitting_size(name, args, channels, size)

    # ranks that something else launched may run on machines with other files in the cache
    cached = is_cached if not LAUNCHED & os.environ.keys() and not args else lambda name: False
    return defaults.choose(found, given, size_of, cached)


def _summary(config: Namespace) -> Summary:
    """What the data set holds; what that prints is printed again when the run builds its own."""
    parser = ArgumentParser()
    parser.add_subclass_arguments(ImageDataModule, "data")
    silence = io.StringIO()
    with contextlib.ExitStack() as quiet:
        if "://" not in str(config.data.init_args.data_dir):  # fetching from an address takes long and is shown once
            quiet.enter_context(contextlib.redirect_stdout(silence))
            quiet.enter_context(contextlib.redirect_stderr(silence))
            quiet.enter_context(run_log.paused())
        module: ImageFolder = parser.instantiate(Namespace(data=config.data.clone())).data
        if getattr(module, "download", False):  # it would be downloaded anyway
            module.prepare_data()
        return summarize(module)


def _fitting_size(backbone: str, args: dict[str, Any], channels: int, size: int) -> int:
    """``size``, or the side in pixels that a backbone takes where it does not take that one."""
    try:
        network = on_meta(lambda: get_model(backbone, num_classes=10, in_channels=channels, **args))
    except (UserError, RuntimeError, NotImplementedError):  # building the model says what is wrong
        return size
    try:
        output_shape(network, 2, channels, size, size)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, UserError):  # timm asserts sizes
        with contextlib.suppress(UserError):  # building the data says what is wrong with the size
            return typical_input(network, channels)
    return size


def _holder(config: Namespace, name: str) -> tuple[Any, str]:
    """The namespace that holds a setting, and the setting's name in it."""
    part, *inner, last = name.split(".")
    holder: Any = config[part].init_args if part == "data" else config[part]
    for key in inner:
        holder = getattr(holder, key)
    return holder, last


def _value(config: Namespace, name: str) -> Any:
    if "." not in name:
        return config.get(name)
    try:
        holder, last = _holder(config, name)
    except (AttributeError, KeyError):
        return None
    return holder.get(last) if isinstance(holder, (Namespace, dict)) else getattr(holder, last, None)


def _set(config: Namespace, name: str, value: Any) -> None:
    holder, last = _holder(config, name)
    setattr(holder, last, value)
