"""Bounds of numbers in the settings, which Lightning checks late, in words of Python, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jsonargparse import Namespace

from lit_cnn.errors import UserError


def _at_least(least: float) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value >= least, f"at least {least:g}"


def _share_or_count(value: Any) -> bool:
    return value >= 0 and (isinstance(value, int) or value <= 1)


_SHARE = (_share_or_count, "a number of batches, or a share such as 0.25")
_FOREVER = (lambda value: value >= -1, "at least 1, or -1 for no limit")
BOUNDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "trainer.max_epochs": _FOREVER,
    "trainer.max_steps": _FOREVER,
    "trainer.min_epochs": _at_least(0),
    "trainer.min_steps": _at_least(0),
    "trainer.limit_train_batches": _SHARE,
    "trainer.limit_val_batches": _SHARE,
    "trainer.limit_test_batches": _SHARE,
    "trainer.limit_predict_batches": _SHARE,
    "trainer.overfit_batches": _SHARE,
    "trainer.val_check_interval": (
        lambda value: value > 0 and _share_or_count(value),
        "a number of batches, or a share of the epoch such as 0.5",
    ),
    "trainer.check_val_every_n_epoch": _at_least(1),
    "trainer.num_sanity_val_steps": _at_least(-1),
    "trainer.log_every_n_steps": _at_least(0),
    "trainer.accumulate_grad_batches": _at_least(1),
    "trainer.gradient_clip_val": _at_least(0),
    "trainer.reload_dataloaders_every_n_epochs": _at_least(0),
    "trainer.fast_dev_run": _at_least(0),
    "checkpoint.save_top_k": _at_least(-1),
    "checkpoint.every_n_epochs": _at_least(0),
    "checkpoint.every_n_train_steps": _at_least(0),
}
# Of options of callbacks.
OPTIONS = {
    "EarlyStopping": {"patience": _at_least(0), "min_delta": _at_least(0)},
    "ModelSummary": {"max_depth": _at_least(-1)},
    "RichModelSummary": {"max_depth": _at_least(-1)},
}
LARGEST_SEED = 2**32 - 1  # of NumPy's generator


def check(config: Namespace, stored: Mapping[str, Any]) -> None:
    """Refuse numbers outside of their bounds, but not those that a run has been trained with.

    Args:
        config: parsed settings.
        stored: those of the checkpoint; empty without one.

    Raises:
        UserError: naming the setting and what is expected.
    """
    for name, bound in BOUNDS.items():
        part, _, setting = name.partition(".")
        if part in config and (part not in stored or config[part].get(setting) != stored[part].get(setting)):
            _check(f"--{name}", config[part].get(setting), bound)
    callbacks = [] if stored else config.trainer.callbacks or []
    for item in callbacks if isinstance(callbacks, list) else [callbacks]:
        options = OPTIONS.get(str(item.get("class_path")).rpartition(".")[2], {})
        for option, bound in options.items():
            _check(f"--trainer.callbacks.{option}", item.get("init_args", Namespace()).get(option), bound)


def _check(flag: str, value: Any, bound: tuple[Callable[[Any], bool], str]) -> None:
    holds, expected = bound
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not holds(value):
        raise UserError(f"{flag} {value}: expected {expected}")
