"""Trials before a training run is built, for settings that are ``auto``: a throwaway model trains for some steps."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.seed import isolate_rng

from lit_cnn.data import ImageDataModule
from lit_cnn.errors import UserError
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tuner.auto import AUTO

T = TypeVar("T")


class Enough(Exception):  # noqa: N818  # no error: it ends the trial
    """The trial knows what it wanted to know; raised in a callback."""


def without_trace(search: Callable[[], T]) -> T:
    """Result of ``search``, after which random numbers and memory are as if it had not been."""
    try:
        with isolate_rng():
            return search()
    finally:
        gc.collect()
        torch.cuda.empty_cache()  # does nothing where CUDA was not used


def layout(setting: str, options: Namespace) -> tuple[torch.device, int]:
    """The device that this process of the run will train on, and how many processes there will be.

    Args:
        setting: the one that is auto, such as ``data.batch_size``.
        options: the trainer's settings.

    Raises:
        UserError: for a strategy that shares a model out, so that one device says nothing.
    """
    strategy = options.strategy
    if not isinstance(strategy, str) or not strategy.startswith(("auto", "ddp", "single_device")):
        raise UserError(f"--{setting} auto works with one device and with ddp only: give a number")
    like = _trainer(options, devices=options.devices, strategy=strategy)
    return like.strategy.root_device, like.world_size


def trainer(options: Namespace, device: torch.device, **kwargs: Any) -> Trainer:
    """A trainer on ``device`` alone, at the run's precision, that keeps nothing."""
    return _trainer(options, devices=1 if device.index is None else [device.index], **kwargs)


def _trainer(options: Namespace, **kwargs: Any) -> Trainer:
    same = ("accelerator", "precision", "deterministic", "benchmark", "gradient_clip_val", "gradient_clip_algorithm")
    return Trainer(
        **{name: getattr(options, name) for name in same},
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        **kwargs,
    )


def data(config: Namespace) -> ImageDataModule:
    """The run's data set, built once more and ready for training."""
    settings = config.data.clone()
    if settings.init_args.get("workers") == AUTO:
        settings.init_args.workers = None  # the run itself measures that
    if settings.init_args.get("cache") == "ram":
        settings.init_args.cache = "none"  # all images would be decoded twice for some batches
    parser = ArgumentParser()
    parser.add_subclass_arguments(ImageDataModule, "data")
    module: ImageDataModule = parser.instantiate(Namespace(data=settings)).data
    module.prepare_data()
    module.setup("fit")
    return module


def model(config: Namespace, data: ImageDataModule, **changes: Any) -> ImageClassifier:
    """A model with the run's settings but ``changes``; never compiled, which would take longer than the trial."""
    settings = {**config.model.as_dict(), "lr_min": 0.0, "lr_base_size": None, "compile": False, **changes}
    return ImageClassifier(**{**settings, "num_classes": data.num_classes, "in_channels": data.in_channels})


def fit(trainer: Trainer, model: ImageClassifier, data: LightningDataModule) -> None:
    """Train until a callback has seen enough.

    Raises:
        KeyboardInterrupt: for Ctrl-C.
    """
    try:
        trainer.fit(model, datamodule=data)
    except Enough:
        pass
    except SystemExit as error:  # Lightning's way to end on Ctrl-C
        if trainer.state.status is TrainerStatus.INTERRUPTED:
            raise KeyboardInterrupt from error
        raise
