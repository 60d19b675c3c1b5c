"""Settings that are ``auto``: found by a run's first process, taken over by the others and by later commands."""

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
from lit_cnn.cli import checkpoint_argument
from lit_cnn.errors import UserError

AUTO = "auto"


def settled(
    setting: str,
    trainer: Namespace,
    record: CheckpointRecord | None,
    stored: Callable[[CheckpointRecord], Any],
    search: Callable[[], tuple[Any, str]],
) -> str:
    """The value in the place of ``auto``; one line says which and why.

    With a checkpoint it is that of the checkpoint's run: a resumed run repeats it, and an evaluation needs no search.

    Args:
        setting: its name, such as ``data.batch_size``.
        trainer: the trainer's settings.
        record: the checkpoint that the command starts from, if any.
        stored: the value that a checkpoint's run had.
        search: finds the value and says why it is that one.

    Raises:
        UserError: see :func:`agree`.
    """
    if record is not None:
        value, why = str(stored(record)), f"that of {record.path}; auto searches for new training runs only"
    else:
        value, why = agree(setting, trainer, search)
    if checkpoint_argument.is_rank_zero():
        print(f"{setting.rpartition('.')[2].replace('_', ' ')} auto: {value} ({why})")
    return value


def agree(setting: str, trainer: Namespace, search: Callable[[], tuple[Any, str]]) -> tuple[str, str]:
    """What the first process of the run finds, in all processes that Lightning starts, and why (there only).

    An environment variable hands it over, since Lightning starts the other processes from the first one.

    Args:
        setting: its name, such as ``data.batch_size``.
        trainer: the trainer's settings.
        search: finds the value and says why it is that one.

    Raises:
        UserError: in processes that something else started, which cannot tell each other what they found.
    """
    variable = "LIT_CNN_" + setting.rpartition(".")[2].upper()
    if not checkpoint_argument.is_rank_zero():
        if variable not in os.environ:
            raise _outside(setting)
        return os.environ[variable], ""
    environments = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    elsewhere = any(e.detect() and e().world_size() > 1 for e in environments)
    # Lightning too sets LOCAL_RANK when it starts processes, but only after a value was found
    by_hand = "LOCAL_RANK" in os.environ and variable not in os.environ
    if trainer.num_nodes > 1 or elsewhere or by_hand:
        raise _outside(setting)
    value, why = search()
    os.environ[variable] = str(value)
    return str(value), why


def _outside(setting: str) -> UserError:
    return UserError(
        f"--{setting} auto cannot be agreed on by processes that torchrun, SLURM or the like started: find it with "
        "lit-cnn fit on one device, and give them what it says"
    )
