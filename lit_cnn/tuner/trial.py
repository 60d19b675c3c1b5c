"""Trial runs for settings that are ``auto``: a throwaway model trains for some steps before the run is built."""

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
from lit_cnn.tasks.base import BaseTask
from lit_cnn.tasks.kinds import TASKS
from lit_cnn.tuner.auto import AUTO

T = TypeVar("T")


class StopTrial(Exception):  # noqa: N818  # control flow, not an error
    """Raised by a callback to end a trial that has measured enough."""


def isolated_trial(search: Callable[[], T]) -> T:
    """Result of ``search``; restores random states (``isolate_rng``) and frees memory afterwards."""
    try:
        with isolate_rng():
            return search()
    finally:
        gc.collect()
        torch.cuda.empty_cache()  # does nothing where CUDA was not used


def device_and_world_size(setting: str, options: Namespace) -> tuple[torch.device, int]:
    """The device that this rank of the run will train on, and the number of ranks.

    Args:
        setting: the one that is auto, such as ``data.batch_size``.
        options: the trainer's settings.

    Raises:
        UserError: for a strategy that shards the model, so that a trial on one device is not representative.
    """
    strategy = options.strategy
    if not isinstance(strategy, str) or not strategy.startswith(("auto", "ddp", "single_device")):
        raise UserError(f"`{setting}=auto` works with one device and with ddp only: give a number")
    same = _build_trainer(options, devices=options.devices, strategy=strategy)
    return same.strategy.root_device, same.world_size


def build_trainer(options: Namespace, device: torch.device, **kwargs: Any) -> Trainer:
    """A trainer on one ``device`` at the run's precision, without logger and checkpoints."""
    return _build_trainer(options, devices=1 if device.index is None else [device.index], **kwargs)


def _build_trainer(options: Namespace, **kwargs: Any) -> Trainer:
    shared = ("accelerator", "precision", "deterministic", "benchmark", "gradient_clip_val", "gradient_clip_algorithm")
    return Trainer(
        **{name: getattr(options, name) for name in shared},
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        **kwargs,
    )


def build_data(config: Namespace) -> ImageDataModule:
    """A second instance of the run's data module, set up for training."""
    settings = config.data.clone()
    if settings.init_args.get("workers") == AUTO:
        settings.init_args.workers = None  # the run itself benchmarks them
    if settings.init_args.get("cache") == "ram":
        settings.init_args.cache = "none"  # would decode all images for a few batches
    parser = ArgumentParser()
    parser.add_subclass_arguments(ImageDataModule, "data")
    module: ImageDataModule = parser.instantiate(Namespace(data=settings)).data
    module.prepare_data()
    module.setup("fit")
    return module


def build_model(config: Namespace, data: ImageDataModule, **changes: Any) -> BaseTask:
    """A model with the run's settings except ``changes``; not compiled, which would take longer than the trial."""
    settings = {**config.model.as_dict(), "lr_min": 0.0, "lr_base_size": None, "compile": False, **changes}
    task: Any = TASKS[data.task]
    return task(**{**settings, **{name: getattr(data, name) for name in task.from_data}})


def fit(trainer: Trainer, model: BaseTask, data: LightningDataModule) -> None:
    """Train until a callback raises :class:`StopTrial`.

    Raises:
        KeyboardInterrupt: for Ctrl-C.
    """
    try:
        trainer.fit(model, datamodule=data)
    except StopTrial:
        pass
    except SystemExit as error:  # how Lightning ends on Ctrl-C
        if trainer.state.status is TrainerStatus.INTERRUPTED:
            raise KeyboardInterrupt from error
        raise
