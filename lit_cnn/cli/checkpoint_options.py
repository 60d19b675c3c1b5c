"""Validation of the settings ``checkpoint.*``, and of ModelCheckpoint among the callbacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace

from lit_cnn.cli.metrics import check_metric
from lit_cnn.cli.trainer_classes import Given
from lit_cnn.errors import UserError, nearest

_BETWEEN = ("every_n_train_steps", "train_time_interval")
_WEIGHTS_ONLY = (
    "cannot be set: test, predict and a resume need the settings, class names and averaged weights that it leaves out"
)


def check_checkpoint_options(config: Namespace, measured: Sequence[str]) -> None:
    """Refuse settings of best.ckpt that would lose or misname it.

    Args:
        config: parsed settings of ``fit``.
        measured: metrics of the task.

    Raises:
        UserError: naming the setting, and what to do.
    """
    options = config.checkpoint
    if options.dirpath is not None:
        raise UserError(
            "--checkpoint.dirpath cannot be set: a run keeps its checkpoints in its own folder, where a resume finds "
            "them; --trainer.default_root_dir DIR sets where run folders are made"
        )
    if options.save_last is not None:
        raise UserError(
            "--checkpoint.save_last cannot be set: last.ckpt is always kept; --checkpoint_every sets how often"
        )
    if options.save_on_exception:
        raise UserError("--checkpoint.save_on_exception cannot be set: last.ckpt is saved when a step fails")
    if options.save_weights_only:
        raise UserError(f"--checkpoint.save_weights_only {_WEIGHTS_ONLY}")
    if options.monitor is not None:
        check_metric("checkpoint.monitor", options.monitor, measured)
    _check_times(options)
    _check_numbers(options)
    _check_filename(options, ("epoch", "step", "train/lr", *measured))
    for item in config.trainer.callbacks or []:
        cls = Given(str(item.class_path))
        init_args = item.get("init_args", Namespace())
        if cls.is_lightnings and cls.short == "ModelCheckpoint" and init_args.get("save_weights_only"):
            raise UserError(f"--trainer.callbacks.save_weights_only of ModelCheckpoint {_WEIGHTS_ONLY}")


def _check_times(options: Namespace) -> None:
    given = [name for name in (*_BETWEEN, "every_n_epochs") if getattr(options, name) is not None]
    if len(given) > 1:
        raise UserError(f"--checkpoint.{given[0]} and --checkpoint.{given[1]} exclude each other: give one of them")
    for name in ("every_n_epochs", "every_n_train_steps"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--checkpoint.{name} {value}: give at least 1")
    for name in _BETWEEN:
        if options.monitor is not None and getattr(options, name):
            raise UserError(
                f"--checkpoint.{name} saves between validations, where no score is known: with it, set "
                "--checkpoint.monitor null --checkpoint.filename step{step} --checkpoint.save_top_k -1"
            )


def _check_numbers(options: Namespace) -> None:
    kept = options.save_top_k
    if kept < -1:
        raise UserError(f"--checkpoint.save_top_k {kept}: give how many to keep, 0 for none, -1 for all")
    if options.monitor is None and kept > 1:
        raise UserError(
            f"--checkpoint.save_top_k {kept} keeps the best by a metric, and --checkpoint.monitor is null: set it, or "
            "keep all with --checkpoint.save_top_k -1"
        )


def _check_filename(options: Namespace, known: Sequence[str]) -> None:
    name = options.filename
    if name is None:
        return
    if name in ("last", "previous"):
        raise UserError(f"--checkpoint.filename {name}: {name}.ckpt is another checkpoint; choose another name")
    fields = re.findall(r"\{([^}:]*)", name)
    for metric in fields:
        if metric not in known:
            raise UserError(
                f"--checkpoint.filename: nothing is measured as {metric!r}{nearest(metric, known) or ';'} "
                f"known: {', '.join(known)}"
            )
    if (problem := _format_error(name, known)) is not None:
        raise UserError(f"--checkpoint.filename {name}: {problem}; an example is '{{epoch}}-{{{known[3]}:.3f}}'")
    counted = {"epoch", "step"} & set(fields)
    if options.save_top_k == -1 and options.monitor is None and name != "best" and not counted:
        raise UserError(
            f"--checkpoint.filename {name}: each checkpoint would replace the one before; add {{epoch}} or {{step}}"
        )
    if not options.enable_version_counter and options.save_top_k not in (0, 1) and name != "best" and not counted:
        raise UserError(
            f"--checkpoint.filename {name}: without --checkpoint.enable_version_counter the checkpoints would replace "
            "each other; add {epoch} or {step}"
        )


def _format_error(name: str, known: Sequence[str]) -> str | None:
    """What is wrong with a file name's format, if anything."""
    fields: dict[str, Any] = dict.fromkeys(known, 0.5) | {"epoch": 1, "step": 1}
    try:
        re.sub(r"\{([^}:]*)", r"{0[\1]", name).format(fields)
    except (ValueError, KeyError, IndexError) as error:
        return str(error)
    return None
