"""Command-line aliases from other tools, and the flags that are this project's own.

Works on plain lists of strings before anything heavy is imported; the parser of settings gets the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from lit_cnn.cli.flag_values import (
    BOOLEANS,
    FALSE,
    TRUE,
    WITHOUT_VALUE,
    device_flags,
    is_flag,
    is_settings,
    split_flag,
)
from lit_cnn.cli.other_tools import NAMED_VALUES, NO_FILE, OTHER_ALIASES, OTHER_SWITCHES, advice, refuse_word, translate
from lit_cnn.cli.own_flags import OWN, TOP, Own
from lit_cnn.errors import UserError, nearest

FLAG_ALIASES = {
    "--epochs": "--trainer.max_epochs",
    "--max_epochs": "--trainer.max_epochs",
    "--steps": "--trainer.max_steps",
    "--batch_size": "--data.batch_size",
    "-b": "--data.batch_size",
    "--data_dir": "--data.data_dir",
    "--workers": "--data.workers",
    "-j": "--data.workers",
    "--img_size": "--data.image_size",
    "--image_size": "--data.image_size",
    "--backbone": "--model.backbone",
    "--model_name": "--model.backbone",
    "--lr": "--model.lr",
    "--weight_decay": "--model.weight_decay",
    "--wd": "--model.weight_decay",
    "--optimizer": "--model.optimizer",
    "--weights": "--model.weights",
    "--freeze": "--model.freeze",
    "--precision": "--trainer.precision",
    "--strategy": "--trainer.strategy",
    "--accelerator": "--trainer.accelerator",
    "--seed": "--seed_everything",
    "--project": "--trainer.default_root_dir",
    "-c": "--config",
}
# Flags that other tools have without a value: a setting and its values for true (or none) and false.
SWITCHES = {
    "--pretrained": ("--model.weights", "imagenet", "null"),
    "--amp": ("--trainer.precision", "bf16-mixed", "null"),
    "--deterministic": ("--trainer.deterministic", "true", "false"),
    **OTHER_SWITCHES,
}
# Flags without a value; all others take one.
BARE = {"--help", "-h", "--print_config", *SWITCHES}


@dataclass
class Arguments:
    """A parsed command line.

    Attributes:
        command: fit, validate, test, predict or prepare.
        typed: all words, as they were given.
        flags: ``[("--data.batch_size", "64"), …]`` in order, without those below.
        configs: values of ``--config`` in order.
        ckpt_path: value of ``--ckpt_path``.
        resume: ``None`` when not given, ``""`` for the newest run, else a checkpoint, a run folder or ``auto``.
        images: files and folders given to ``predict``.
        allow_import: packages that are imported for what they register, and that settings may name classes of.
        budget: value of ``--budget``: the time that training should take; ``None`` when not given.
        seeds: train with so many seeds; ``None``: with one.
        name: of the run, whose folder is ``lightning_logs/NAME``; ``None``: the next ``version_N``.
        raw: show the network's own probabilities, without the checkpoint's temperature.
        predictions: file that an evaluation writes its predictions to as well: .csv, .jsonl or .parquet.
        save_images: whether predict writes the images with their classes on them.
        resume_anyway: resume although what decides the order of the samples has changed.
        shards: value of ``--shards``: a folder that ``prepare`` writes shards to.
        shard_mb: value of ``--shard_mb``: their size; ``None`` when not given.
        haze: value of ``--haze``: a folder that ``prepare`` writes hazy and clear photos to.
        verify_resume: steps of the runs to compare instead of training; ``None`` when not given.
        bare: flags without a value, such as ``--help``.
        notes: lines that say how another tool's words were read.
        contents: settings of the config files, by path, once they are read.
    """

    command: str
    flags: list[tuple[str, str]] = field(default_factory=list)
    configs: list[str] = field(default_factory=list)
    ckpt_path: str | None = None
    resume: str | None = None
    images: list[str] = field(default_factory=list)
    allow_import: list[str] = field(default_factory=list)
    name: str | None = None
    seeds: int | None = None
    budget: str | None = None
    raw: bool = False
    predictions: str | None = None
    save_images: bool = False
    resume_anyway: bool = False
    verify_resume: int | None = None
    shards: str | None = None
    shard_mb: int | None = None
    haze: str | None = None
    bare: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    contents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def names(self) -> set[str]:
        """Names of the settings given as flags, such as ``data.batch_size``."""
        return {_without_init_args(flag.lstrip("-").rstrip("+")) for flag, _ in self.flags}

    def words(self) -> list[str]:
        """A command line with the same configs, flags and imports, without checkpoint and own switches."""
        named = [("--config", self.configs), ("--allow_import", self.allow_import)]
        own = [f"{flag}={value}" for flag, values in named for value in values]
        return [self.command, *own, *(f"{flag}={value}" for flag, value in self.flags), *self.bare]


def parse(args: list[str]) -> Arguments:
    """Parse a command line and translate aliases and words of other tools.

    Args:
        args: a command's own name and the words that follow it.

    Raises:
        UserError: for a flag without its value, one that another tool has, or a word that is neither flag nor value.
    """
    parsed = Arguments(args[0], typed=list(args))
    words, last = args[1:], ""
    devices = ""  # of a device whose number is the only one there is, unless the devices are given too
    while words:
        word = words.pop(0)
        if not is_flag(word):
            _add_word(parsed, word, last)
            last = ""
            continue
        name, equals, value = split_flag(word)
        flag, last = canonical(name), name
        if not equals and (on := _negated(flag)):
            flag, equals, value = on, "=", "false"
        own = OWN.get(flag)
        if not equals and words and _takes_next(flag, words[0]):
            equals, value = "=", words.pop(0)
        if not equals and flag in WITHOUT_VALUE:
            equals, value = "=", WITHOUT_VALUE[flag]
        if own is not None and (equals or own.bare is not None):
            _set_own(parsed, own, value if equals else None)
        elif flag in SWITCHES:
            setting, on, off = SWITCHES[flag]
            given = value.lower()
            parsed.flags.append((setting, on if given in ("", *TRUE) else off if given in FALSE else value))
        elif flag in BARE:
            parsed.bare.append(f"{flag}={value}" if equals else flag)
        else:
            _refuse_other(flag, name, value if equals else None)
            if flag in ("--device", "--devices"):
                flags, devices = device_flags(value, how_many=flag == "--devices")
                parsed.flags.extend(flags)
            else:
                parsed.flags.append(_setting(parsed, flag, value))
    if devices and not any(flag == "--trainer.devices" for flag, _ in parsed.flags):
        parsed.flags.append(("--trainer.devices", devices))
    if parsed.name is not None and parsed.command != "fit":
        raise UserError(f"--name names a new run of fit and has no effect on {parsed.command}: leave it out")
    if parsed.seeds is not None and parsed.command != "fit":
        raise UserError(f"--seeds trains with several seeds and has no effect on {parsed.command}: leave it out")
    if parsed.shards is not None and parsed.command != "prepare":
        raise UserError(f"--shards has no effect on {parsed.command}: lit-cnn prepare writes shards")
    if parsed.haze is not None and parsed.command != "prepare":
        raise UserError(f"--haze is for prepare: it has no effect on {parsed.command}")
    if parsed.shard_mb is not None and parsed.shards is None:
        raise UserError("--shard_mb is the size of shards: say where to write them, --shards DIR")
    return parsed


def _negated(flag: str) -> str:
    """The flag that ``--no_FLAG`` turns off; ``""`` for all others."""
    on = canonical(f"--{flag[5:]}") if flag.startswith("--no_") and flag not in SWITCHES else ""
    return on if on in SWITCHES or on in BOOLEANS else ""


def _takes_next(flag: str, word: str) -> bool:
    """Whether the next word is the value of a flag."""
    own = OWN.get(flag)
    if own is not None and own.bare is not None:
        return own.takes(word)
    if flag in SWITCHES:
        return word.lower() in (*TRUE, *FALSE)
    if flag in BOOLEANS:
        return word.lower() in (*TRUE, *FALSE, "null", "warn") or re.fullmatch(r"-?\d+", word) is not None
    return flag not in BARE and not is_flag(word)


def _setting(parsed: Arguments, flag: str, value: str) -> tuple[str, str]:
    """A setting and its value, with what other tools call them."""
    if flag == "--model" and not is_settings(value):
        if value.endswith((".ckpt", ".pt", ".pth", ".safetensors")):
            raise UserError(f"--model {value}: use --ckpt_path {value} for a checkpoint, --model.weights for weights")
        parsed.notes.append(f"--model {value} is read as --model.backbone {value}")
        flag = "--model.backbone"
    return flag, translate(flag.lstrip("-"), value)


def _refuse_other(flag: str, name: str, value: str | None) -> None:
    """Refuse a flag that another tool has and this one has not, and one without its value.

    Args:
        flag: in this tool's spelling.
        name: as the user wrote it.
        value: ``None``: there is none.
    """
    known = flag in OWN or flag in FLAG_ALIASES.values() or flag in OTHER_ALIASES.values() or "." in flag
    hint = "" if known else advice(flag.lstrip("-"))
    if flag in NO_FILE and (value is None or not is_settings(value)):
        hint = NO_FILE[flag]
    if hint:
        raise UserError(f"unknown flag {name}: {hint}")
    if name.startswith("---"):
        raise UserError(unknown_flag(name))
    if value is None:
        raise UserError(f"{name} needs a value: {name} VALUE" if known or flag in TOP else unknown_flag(name))


def unknown_flag(name: str) -> str:
    """The line for a flag that nothing has, with the flags that are spelled most like it.

    Args:
        name: as the user wrote it; one without dashes is a key of a config.
    """
    dashes, what = ("--", "flag") if name.startswith("-") else ("", "setting")
    near = ""
    for flags in ((*FLAG_ALIASES, *OWN, *SWITCHES, *TOP), OTHER_ALIASES):  # this tool's own first
        known = [flag[2:].replace("_", "-" if dashes else "_") for flag in flags if flag.startswith("--")]
        near = near or nearest(name.lstrip("-").replace("_", "-" if dashes else "_"), known)
    hint = re.sub("'(.+?)'", rf"{dashes}\1", near) or "; lit-cnn fit --help lists the usual ones"
    return f"unknown {what} {name}{hint}"


def _set_own(parsed: Arguments, own: Own, text: str | None) -> None:
    value = own.bare if text is None or (text == "" and own.bare is not None) else own.read(text)
    setattr(parsed, own.attribute, getattr(parsed, own.attribute) + value if own.many else value)


def canonical(flag: str) -> str:
    """``--batch-size`` is ``--batch_size`` is ``--data.batch_size``."""
    if flag.startswith("--"):
        flag = "--" + flag[2:].replace("-", "_")
    elif len(flag) > 2:  # -lr is --lr
        flag = "-" + flag.replace("-", "_").replace("_", "-", 1)
    for name in (flag, flag.lower()):
        for aliases in (FLAG_ALIASES, OTHER_ALIASES):
            if name in aliases:
                return aliases[name]
        if name in OWN or name in SWITCHES or name in TOP:
            return name
    return flag


def _add_word(parsed: Arguments, word: str, last: str) -> None:
    """Take a word that is no flag: an image of ``predict``, else the data; ``last``: the flag before it."""
    refuse_word(parsed.command, word, last)
    if parsed.command == "predict":
        parsed.images.append(word)
    elif (pair := SWITCHES.get(canonical(last))) and word.lower() in (pair[1], *NAMED_VALUES.get(pair[0][2:], ())):
        raise UserError(f"{word!r} after {last}: it takes no value")
    elif any(flag == "--data" for flag, _ in parsed.flags):
        if pair:
            raise UserError(f"{word!r} after {last}: it takes no value")
        raise UserError(f"{word!r} is one word too many: the one that {parsed.command} takes names the data")
    else:
        parsed.flags.append(("--data", word))


def _without_init_args(key: str) -> str:
    return key.replace(".init_args.", ".")


def has_flag(words: list[str], flag: str) -> bool:
    """Whether a flag is among the words of a command line, in any spelling, with or without a value."""
    return any(canonical(word.partition("=")[0]) == flag for word in words[1:])
