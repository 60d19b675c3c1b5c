"""Values of flags: how their texts are read, those that may be left out, and devices. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Callable

from lit_cnn.errors import UserError

TRUE, FALSE = ("true", "yes", "on"), ("false", "no", "off")
# Settings that are true or false.
BOOLEANS = tuple(
    f"--{part}.{name}"
    for part, names in {
        "trainer": "barebones benchmark detect_anomaly deterministic enable_autolog_hparams enable_checkpointing"
        " enable_model_summary enable_progress_bar fast_dev_run inference_mode sync_batchnorm use_distributed_sampler",
        "model": "freeze_bn channels_last compile decay_norm_and_bias weights_strict",
        "data": "augment.alternate_flip download",
        "checkpoint": "auto_insert_metric_name enable_version_counter save_on_exception save_on_train_epoch_end"
        " save_weights_only verbose",
    }.items()
    for name in names.split()
)
# Settings that need no value, and the one that they have then.
WITHOUT_VALUE = {
    **dict.fromkeys(BOOLEANS, "true"),
    "--model.freeze": "backbone",
    "--model.cache_features": "true",
    "--model.tta": "flip",
    "--data.cache": "ram",
}
CONFIG_FILES = (".yaml", ".yml", ".json")


def is_settings(value: str) -> bool:
    """Whether a value is a file of settings, or settings themselves."""
    return value.endswith(CONFIG_FILES) or value.startswith("{")


def whole_number(flag: str, unit: str, least: int = 1) -> Callable[[str], int]:
    """A reader of whole numbers from ``least`` up, which names ``flag`` and ``unit`` in its error."""

    def read(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise UserError(f"{flag} {text}: expected a whole number of {unit}, at least {least}")
        return int(text)

    return read


def truth(flag: str) -> Callable[[str], bool]:
    """A reader of true and false, which names ``flag`` in its error."""

    def read(text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"{flag} {text}: expected true or false, or no value, which means true")
        return text.lower() == "true"

    return read


def is_truth(word: str) -> bool:
    """Whether a word is one that :func:`truth` reads."""
    return word.lower() in ("true", "false")


def import_names(text: str) -> list[str]:
    """Names in a value of ``--allow_import``.

    Raises:
        UserError: there is none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("--allow_import needs the name of a package or module: --allow_import mypackage")
    return names


def device_flags(value: str, how_many: bool) -> tuple[list[tuple[str, str]], str]:
    """Flags for ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or GPUs by number, ``0`` or ``0,1``.

    Args:
        value: of the user.
        how_many: a number says how many devices, not which one.

    Returns:
        The flags, and the number of devices where nothing else says it.

    Raises:
        UserError: for anything else.
    """
    text = value.lower().replace(" ", "")
    kind, _, number = text.partition(":")
    if kind == "cpu":
        return [("--trainer.accelerator", "cpu")], number if number.isdigit() and int(number) else "1"
    if kind in ("cuda", "gpu", "mps"):
        flags = [("--trainer.accelerator", "mps" if kind == "mps" else "gpu")]
        which = ",".join(part.rpartition(":")[2] for part in number.split(",")) if number else ""
        return ([*flags, ("--trainer.devices", f"[{which}]")], "") if which else (flags, "1")
    if text in ("auto", "-1") or (how_many and text.isdigit()):
        return [("--trainer.devices", text)], ""
    if numbers := re.fullmatch(r"\[?(\d+(?:,\d+)*)\]?", text):
        accelerator = [] if how_many else [("--trainer.accelerator", "gpu")]
        return [*accelerator, ("--trainer.devices", f"[{numbers[1]}]")], ""
    raise UserError(f"--device {value}: use cpu, cuda, cuda:1, mps, or GPUs by number such as 0 or 0,1")


def split_flag(word: str) -> tuple[str, str, str]:
    """Flag, equals sign and value of a word; ``-b64`` is ``-b=64``."""
    if found := re.fullmatch(r"(-[bj])(\d+)", word):
        return found[1], "=", found[2]
    return word.partition("=")


def is_flag(token: str) -> bool:
    """A leading minus followed by a letter or another minus; -1 and -0.5 are numbers."""
    return token.startswith("-") and len(token) > 1 and not (token[1].isdigit() or token[1] == ".")
