"""Requests that cannot work, refused before anything is built."""

from __future__ import annotations

import torch
from jsonargparse import Namespace

from lit_cnn.arguments import Arguments
from lit_cnn.checkpoint import Record
from lit_cnn.errors import UserError

DEFAULT_EPOCHS = 10


def refuse_other_backbone(arguments: Arguments, record: Record) -> None:
    """A checkpoint's weights fit its own backbone only."""
    for flag, value in arguments.flags:
        name = flag.lstrip("-")
        if name == "model.backbone" and value != record.config["model"]["backbone"]:
            raise UserError(
                f"{record.path} holds a {record.config['model']['backbone']}, not a {value}: leave --model.backbone "
                f"out, or start anew with --model.weights {record.path}"
            )


def refuse_finished(record: Record, trainer: Namespace) -> None:
    max_epochs, max_steps = trainer.max_epochs, trainer.max_steps
    if max_epochs is not None and 0 <= max_epochs <= record.epoch:
        raise UserError(
            f"{record.path} has finished its {record.epoch} epochs: go on with a larger number, "
            f"such as --epochs {record.epoch + DEFAULT_EPOCHS}"
        )
    if max_steps is not None and 0 <= max_steps <= record.step:
        raise UserError(f"{record.path} has finished its {record.step} steps: go on with a larger --trainer.max_steps")


def refuse_no_training(trainer: Namespace) -> None:
    """Zero epochs or steps train nothing."""
    for name in ("max_epochs", "max_steps"):
        if getattr(trainer, name) == 0:
            raise UserError(f"--trainer.{name} 0 trains nothing: give at least 1")


def check_devices(trainer: Namespace) -> None:
    """Say at once when the machine lacks the devices asked for."""
    accelerator, devices = trainer.accelerator, trainer.devices
    gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    on_cpu = "--trainer.accelerator cpu --trainer.devices 2 --trainer.strategy ddp runs two processes on the CPU"
    if accelerator in ("gpu", "cuda", "mps") and gpus == 0:
        raise UserError(
            f"this machine has no GPU that torch can use: leave --device out, or give --device cpu; {on_cpu}"
        )
    if accelerator not in ("auto", "gpu", "cuda"):
        return
    wanted = [int(d) for d in devices] if isinstance(devices, list) else []
    if isinstance(devices, (int, str)) and str(devices).lstrip("-").isdigit():
        wanted = list(range(int(devices)))
    if len(wanted) > 1 and gpus == 0:
        raise UserError(f"--trainer.devices {devices}: this machine has no GPU that torch can use; {on_cpu}")
    if gpus and wanted and max(wanted) >= gpus:
        raise UserError(f"--trainer.devices {devices}: this machine has {gpus} GPU{'s' if gpus > 1 else ''}")
