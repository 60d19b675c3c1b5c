"""Resolve settings that are ``auto`` on rank zero and share them with the other ranks, or take a checkpoint's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.plugins.environments import (
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say
from lit_cnn.utils.rank import is_rank_zero

AUTO = "auto"


def resolve_auto(
    setting: str,
    trainer: Namespace,
    record: CheckpointRecord | None,
    stored: Callable[[CheckpointRecord], Any],
    search: Callable[[], tuple[Any, str]],
) -> str:
    """The value that replaces ``auto``; prints one line with it and the reason.

    With a checkpoint it is the value of the checkpoint's run: a resumed run repeats it, an evaluation needs no search.

    Args:
        setting: its name, such as ``data.batch_size``.
        trainer: the trainer's settings.
        record: the checkpoint that the command starts from, if any.
        stored: returns the value of a checkpoint's run.
        search: finds a value; returns it with the reason.

    Raises:
        UserError: see :func:`share_choice`.
    """
    if record is not None:
        value, why = str(stored(record)), f"that of {record.path}; auto searches for new training runs only"
    else:
        value, why = share_choice(setting, trainer, search)
    say(f"{setting.rpartition('.')[2].replace('_', ' ')} auto: {value} ({why})")
    return value


def share_choice(setting: str, trainer: Namespace, search: Callable[[], tuple[Any, str]]) -> tuple[str, str]:
    """Search on rank zero and share the value with all ranks that Lightning launches; the reason stays on rank zero.

    The value is shared by an environment variable, as Lightning launches the other ranks from rank zero.

    Args:
        setting: its name, such as ``data.batch_size``.
        trainer: the trainer's settings.
        search: finds a value; returns it with the reason.

    Raises:
        UserError: something else launched the ranks, so they do not share an environment.
    """
    variable = "LIT_CNN_" + setting.rpartition(".")[2].upper()
    if not is_rank_zero():
        if variable not in os.environ:
            raise _cannot_share(setting)
        return os.environ[variable], ""
    environments = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    external = any(e.detect() and e().world_size() > 1 for e in environments)
    # Lightning sets LOCAL_RANK too when it launches ranks, but only after a value was found
    external |= "LOCAL_RANK" in os.environ and variable not in os.environ
    if trainer.num_nodes > 1 or external:
        raise _cannot_share(setting)
    value, why = search()
    os.environ[variable] = str(value)
    return str(value), why


def _cannot_share(setting: str) -> UserError:
    return UserError(
        f"`{setting}=auto` cannot be shared among processes that torchrun, SLURM or the like started: run lit-cnn fit "
        "on one device to find a value, and set it"
    )
