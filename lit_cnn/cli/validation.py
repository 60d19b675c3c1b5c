"""Validation of settings before anything is built: refuse what cannot work or would have no effect."""

from __future__ import annotations

import os
import re
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.strategies import StrategyRegistry

from lit_cnn.checkpoint.interval import SaveInterval
from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli import bounds
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.trainer_classes import strategy_reason
from lit_cnn.errors import UserError, nearest
from lit_cnn.results.prediction_files import check_output
from lit_cnn.utils.console import say

DEFAULT_EPOCHS = 10
# Set by torchrun, srun, mpirun and the like in each process that they start.
LAUNCHED = {"RANK", "GROUP_RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "JSM_NAMESPACE_RANK"}

# Filled in by links between settings; given as flags, they would be overwritten or refused without a reason.
LINKED = {
    "data.seed": "it is the run's: --seed N",
    "model.seed": "it is the run's: --seed N",
    "model.num_classes": "it comes from the data",
    "num_classes": "the number of classes comes from the data",
    "model.multilabel": "it comes from the data: --data.multilabel of ImageList",
    "model.in_channels": "it comes from the data: --data.channels N",
}
# Settings whose type is any text.
CHOICES = {
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.gradient_clip_algorithm": ("norm", "value"),
    "checkpoint.mode": ("max", "min"),
}
DURATIONS = ("weeks", "days", "hours", "minutes", "seconds")  # keys of a time given as a dictionary
# Settings of the model that an evaluation may change.
HARMLESS = ("model.channels_last", "model.compile", "model.tta", "model.tile")
# Settings of the trainer that only training uses.
TRAINING = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.logger")
# The optimizer's stored state fits only the same of these.
OPTIMIZER_SHAPE = (
    "optimizer", "freeze", "freeze_epochs", "decay_norm_and_bias", "lr_stop", "layer_decay", "head_lr_scale",
)  # fmt: skip


def check_flags(arguments: Arguments, record: CheckpointRecord | None) -> None:
    """Refuse flags that the command would ignore."""
    if arguments.resume_anyway and (record is None or arguments.command != "fit"):
        raise UserError("--resume_anyway is for fit --resume, and there is nothing to resume: leave it out")
    if arguments.raw and arguments.command not in ("validate", "test", "predict"):
        raise UserError(f"--raw has no effect on {arguments.command}: leave it out")
    if arguments.predictions is not None and arguments.command not in ("validate", "test", "predict"):
        raise UserError(f"--predictions has no effect on {arguments.command}: leave it out")
    if arguments.predictions is not None:
        check_output(arguments.predictions)
    if record is not None and record.task != "classification":
        for flag in (flag for flag in ("raw", "predictions", "save_images") if getattr(arguments, flag)):
            raise UserError(f"--{flag.replace('_', '-')} is for classes, and {record.path} has none: leave it out")
    if arguments.save_images and arguments.command != "predict":
        raise UserError(f"--save-images has no effect on {arguments.command}: predict has it")
    for name in sorted(arguments.names()):
        if name in LINKED:
            raise UserError(f"--{name} cannot be set: {LINKED[name]}")
        if name == "weights_only":
            raise UserError("--weights_only cannot be set: checkpoints never load code here")
        if record is not None and name == "model.weights" and dict(arguments.flags).get("--model.weights") != "null":
            raise UserError(f"--model.weights and {record.path} both bring weights: give one of them")
        # check_model refuses another backbone, and says what the checkpoint holds
        no_effect = name.startswith("model.") and not name.startswith((*HARMLESS, "model.backbone"))
        if arguments.command != "fit" and (no_effect or name in TRAINING):
            raise UserError(f"--{name} has no effect on {arguments.command}: leave it out")
    if arguments.images and arguments.names() & {"data", "data.data_dir"}:
        raise UserError("predict takes either image files and folders, or --data and --data.data_dir: not both")
    for flag, value in arguments.flags:
        if flag == "--seed_everything" and value.isdigit() and int(value) > bounds.LARGEST_SEED:
            raise UserError(f"--seed {value}: expected at most {bounds.LARGEST_SEED}")
        if flag == "--seed_everything" and not value.isdigit():
            raise UserError(f"--seed: expected a whole number of at least 0, got {value!r}")


def check_model(model: dict[str, Any], record: CheckpointRecord, command: str) -> None:
    """Refuse model settings that the checkpoint's content does not fit."""
    stored = record.config["model"]
    fresh = f"or start a new run with --model.weights {record.path}"
    for name in ("backbone", "backbone_args"):
        if (model[name] or None) != (stored[name] or None):
            raise UserError(
                f"{record.path} holds a model with {name} {stored[name]}, not {model[name]}: "
                f"leave --model.{name} out, {fresh}"
            )
    for name in OPTIMIZER_SHAPE:
        if command == "fit" and model.get(name) != stored.get(name):
            raise UserError(
                f"model.{name} cannot change on resume (checkpoint: {stored.get(name)}, now: {model[name]}), since the "
                f"optimizer's stored state would not fit: leave it out, {fresh}"
            )


def check_precision(trainer: Namespace) -> None:
    """Refuse precisions that convolutions cannot use."""
    if str(trainer.precision).startswith("transformer-engine"):
        raise UserError(
            f"--precision {trainer.precision} is for linear layers of transformers, not for convolutions: "
            "give bf16-mixed, or auto for the fastest one that is accurate here"
        )


def check_training(config: Namespace, record: CheckpointRecord | None) -> None:
    """Refuse a training run that would train nothing."""
    trainer = config.trainer
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if getattr(trainer, name) == 0:
            raise UserError(f"--trainer.{name} 0 trains nothing: give at least 1")
    for name in ("num_classes", "in_channels"):
        if name in (config.model.backbone_args or {}):
            raise UserError(f"--model.backbone_args.{name} cannot be set: it comes from the data")
    if trainer.num_nodes > 1 and not LAUNCHED & os.environ.keys():
        raise UserError(
            f"--trainer.num_nodes {trainer.num_nodes}: start the same command on every machine with torchrun or srun "
            "(see docs/distributed.md); lit-cnn alone cannot find out which of the machines this one is"
        )
    SaveInterval.parse(config.checkpoint_every)  # for its error message
    if record is not None:
        _refuse_finished(record, trainer)


def _refuse_finished(record: CheckpointRecord, trainer: Namespace) -> None:
    max_epochs, max_steps = trainer.max_epochs, trainer.max_steps
    if max_epochs is not None and 0 <= max_epochs <= record.epoch:
        ended = record.config["trainer"].get("max_epochs") == record.epoch
        raise UserError(
            f"{record.path} has finished {'its ' if ended else ''}{_count(record.epoch, 'epoch')}: resume with a "
            f"larger number, such as --epochs {record.epoch + DEFAULT_EPOCHS}"
        )
    if max_steps is not None and 0 <= max_steps <= record.step:
        raise UserError(
            f"{record.path} has finished its {_count(record.step, 'step')}: resume with a larger --trainer.max_steps"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def check_strategy(trainer: Namespace) -> None:
    """Refuse a strategy that is unknown or does not work here."""
    name = trainer.strategy
    known = ["auto", *StrategyRegistry.available_strategies()]
    if isinstance(name, str) and name not in known:
        often = "auto, ddp and fsdp are the usual ones"
        raise UserError(f"unknown --trainer.strategy {name!r}{nearest(name, known) or ';'} {often}")
    if isinstance(name, str) and (reason := strategy_reason(name)):
        raise UserError(f"--trainer.strategy {name}: {reason}")


def check_choices(config: Namespace, record: CheckpointRecord | None) -> None:
    """Refuse texts that a setting of Lightning does not take, although its type is any text."""
    for name, known in CHOICES.items():
        part, _, setting = name.partition(".")
        value = config[part].get(setting) if part in config else None
        if isinstance(value, str) and value not in known:
            raise UserError(f"--{name}: {value!r} is none of {', '.join(known)}{nearest(value, known)}")
    bounds.check(config, record.config if record is not None else {})
    for name in ("max_time", "val_check_interval"):
        value = config.trainer[name]
        if isinstance(value, dict) and not value.keys() <= set(DURATIONS):
            raise UserError(f"--trainer.{name}: expected {', '.join(DURATIONS)}, got {', '.join(map(str, value))}")


def check_devices(trainer: Namespace) -> None:
    """Refuse devices that the machine does not have."""
    accelerator, devices = trainer.accelerator, trainer.devices
    gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    on_cpu = "two ranks on the CPU: --device cpu --trainer.devices 2 --trainer.strategy ddp"
    if accelerator in ("gpu", "cuda", "mps") and gpus == 0:
        raise UserError(
            f"this machine has no GPU that torch can use: leave --device out, or give --device cpu; {on_cpu}"
        )
    if isinstance(devices, str) and not re.fullmatch(r"auto|-1|\d+(,\d+)*", devices):
        raise UserError(f"--trainer.devices: expected how many, or a list such as [0,1], got {devices!r}")
    uses_cpu = accelerator == "cpu" or (accelerator == "auto" and gpus == 0)
    if uses_cpu and (isinstance(devices, list) or str(devices) in ("-1", "0") or "," in str(devices)):
        raise UserError(f"--trainer.devices {devices}: on the CPU it says how many, from 1 up; {on_cpu}")
    if uses_cpu and trainer.sync_batchnorm:
        raise UserError("--trainer.sync_batchnorm needs GPUs, as torch has no such layer for the CPU: leave it out")
    if accelerator not in ("auto", "gpu", "cuda"):
        return
    wanted = [int(d) for d in devices] if isinstance(devices, list) else []
    if isinstance(devices, (int, str)) and str(devices).lstrip("-").isdigit():
        wanted = list(range(int(devices)))
    if len(wanted) > 1 and gpus == 0:
        raise UserError(f"--trainer.devices {devices}: this machine has no GPU that torch can use; {on_cpu}")
    if gpus and wanted and max(wanted) >= gpus:
        there = f"{gpus} GPUs, numbered from 0" if gpus > 1 else "1 GPU, number 0"
        raise UserError(f"GPU {max(wanted)} was asked for: this machine has {there}")


def note_deterministic(trainer: Namespace) -> None:
    """Say what ``trainer.deterministic`` costs where it is on."""
    if trainer.deterministic:
        say(
            "deterministic: on a GPU this costs speed, since the fastest algorithms are not used, and an "
            "operation without a deterministic form stops the run; on the CPU runs repeat bit for bit anyway"
        )
