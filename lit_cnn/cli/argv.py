"""Command-line aliases from other tools, and the flags that are this project's own.

Works on plain lists of strings before anything heavy is imported; the parser of settings gets the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lit_cnn.cli.run_name import read_run_name
from lit_cnn.errors import UserError

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
    "--model_name": "--model.backbone",
    "--backbone": "--model.backbone",
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
}
# Flags without a value; all others take one.
BARE = {"--help", "-h", "--print_config", *SWITCHES}


class _Own(NamedTuple):
    """A flag that is no setting of trainer, model or data.

    Attributes:
        attribute: of :class:`Arguments`.
        read: makes the value of the text.
        bare: the value of the flag without a text; ``None``: it needs one.
        takes: whether the next word is its text, where it may have none.
        many: further ones add to a list.
    """

    attribute: str
    read: Callable[[str], Any] = str
    bare: Any = None
    takes: Callable[[str], bool] = lambda word: not word.startswith("-")
    many: bool = False


def _count(flag: str, unit: str, least: int = 1) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise UserError(f"{flag} {text}: expected a whole number of {unit}, at least {least}")
        return int(text)

    return read


def _truth(flag: str) -> Callable[[str], bool]:
    def read(text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"{flag} {text}: expected true or false, or no value, which means true")
        return text.lower() == "true"

    return read


def import_names(text: str) -> list[str]:
    """Names in a value of ``--allow_import``.

    Raises:
        UserError: there is none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("--allow_import needs the name of a package or module: --allow_import mypackage")
    return names


OWN = {
    "--config": _Own("configs", lambda text: [text], many=True),
    "--ckpt_path": _Own("ckpt_path"),
    "--resume": _Own("resume", bare=""),
    "--resume_anyway": _Own(
        "resume_anyway", _truth("--resume_anyway"), bare=True, takes=lambda word: word.lower() in ("true", "false")
    ),
    "--verify_resume": _Own("verify_resume", _count("--verify_resume", "steps", 8), bare=24, takes=str.isdigit),
    "--allow_import": _Own("allow_import", import_names, many=True),
    "--name": _Own("name", read_run_name),
    "--shards": _Own("shards"),
    "--shard_mb": _Own("shard_mb", _count("--shard_mb", "megabytes")),
}


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
        name: of the run, whose folder is ``lightning_logs/NAME``; ``None``: the next ``version_N``.
        resume_anyway: resume although what decides the order of the samples has changed.
        shards: value of ``--shards``: a folder that ``prepare`` writes shards to.
        shard_mb: value of ``--shard_mb``: their size; ``None`` when not given.
        verify_resume: steps of the runs to compare instead of training; ``None`` when not given.
        bare: flags without a value, such as ``--help``.
    """

    command: str
    flags: list[tuple[str, str]] = field(default_factory=list)
    configs: list[str] = field(default_factory=list)
    ckpt_path: str | None = None
    resume: str | None = None
    images: list[str] = field(default_factory=list)
    allow_import: list[str] = field(default_factory=list)
    name: str | None = None
    resume_anyway: bool = False
    verify_resume: int | None = None
    shards: str | None = None
    shard_mb: int | None = None
    bare: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)

    def names(self) -> set[str]:
        """Names of the settings given as flags, such as ``data.batch_size``."""
        return {_without_init_args(flag.lstrip("-").rstrip("+")) for flag, _ in self.flags}

    def words(self) -> list[str]:
        """A command line with the same configs, flags and imports, without checkpoint and own switches."""
        named = [("--config", self.configs), ("--allow_import", self.allow_import)]
        own = [f"{flag}={value}" for flag, values in named for value in values]
        return [self.command, *own, *(f"{flag}={value}" for flag, value in self.flags), *self.bare]


def parse(args: list[str]) -> Arguments:
    """Parse a command line and translate aliases.

    Args:
        args: a command's own name and the words that follow it.

    Raises:
        UserError: for a flag without its value, or a word that is neither a flag nor a value.
    """
    parsed = Arguments(args[0], typed=list(args))
    words = args[1:]
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            if parsed.command != "predict":
                raise UserError(_stray(parsed.command, word))
            parsed.images.append(word)
            continue
        name, equals, value = word.partition("=")
        flag = _canonical(name)
        own = OWN.get(flag)
        if own is not None and own.bare is not None and not equals:
            if words and own.takes(words[0]):
                equals, value = "=", words.pop(0)
        elif flag not in BARE and not equals:
            if not words or _is_flag(words[0]):
                raise UserError(f"{word} needs a value: {word} VALUE")
            equals, value = "=", words.pop(0)
        if own is not None:
            _set_own(parsed, own, value if equals else None)
        elif flag in SWITCHES:
            setting, on, off = SWITCHES[flag]
            parsed.flags.append((setting, {"": on, "true": on, "false": off}.get(value.lower(), value)))
        elif flag in BARE:
            parsed.bare.append(f"{flag}={value}" if equals else flag)
        elif flag in ("--device", "--devices"):
            parsed.flags.extend(_device(value))
        else:
            parsed.flags.append((flag, value))
    if parsed.name is not None and parsed.command != "fit":
        raise UserError(f"--name names a new run of fit and has no effect on {parsed.command}: leave it out")
    if parsed.shards is not None and parsed.command != "prepare":
        raise UserError(f"--shards has no effect on {parsed.command}: lit-cnn prepare writes shards")
    if parsed.shard_mb is not None and parsed.shards is None:
        raise UserError("--shard_mb is the size of shards: say where to write them, --shards DIR")
    return parsed


def _set_own(parsed: Arguments, own: _Own, text: str | None) -> None:
    value = own.bare if text is None or (text == "" and own.bare is not None) else own.read(text)
    setattr(parsed, own.attribute, getattr(parsed, own.attribute) + value if own.many else value)


def _canonical(flag: str) -> str:
    """``--batch-size`` is ``--batch_size`` is ``--data.batch_size``."""
    if flag.startswith("--"):
        flag = "--" + flag[2:].replace("-", "_")
    return FLAG_ALIASES.get(flag, flag)


def _is_flag(token: str) -> bool:
    """A leading minus followed by a letter or another minus; -1 and -0.5 are numbers."""
    return token.startswith("-") and len(token) > 1 and not (token[1].isdigit() or token[1] == ".")


def _device(value: str) -> list[tuple[str, str]]:
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``2`` (how many) or ``0,1`` (which)."""
    kind, _, number = value.partition(":")
    if kind == "cpu":
        return [("--trainer.accelerator", "cpu"), ("--trainer.devices", number or "1")]
    if kind in ("cuda", "gpu", "mps"):
        flags = [("--trainer.accelerator", "mps" if kind == "mps" else "gpu")]
        return [*flags, ("--trainer.devices", f"[{number}]")] if number else flags
    if "," in value and not value.startswith("["):
        return [("--trainer.devices", f"[{value}]")]
    if value.isdigit() or value in ("auto", "-1") or value.startswith("["):
        return [("--trainer.devices", value)]
    raise UserError(f"--device {value}: use cpu, cuda, cuda:1, mps, a number of devices, or a list such as 0,1")


def _stray(command: str, token: str) -> str:
    if token.endswith((".yaml", ".yml", ".json")):
        return f"{token}: did you mean --config {token}?"
    if token.endswith(".ckpt"):
        return f"{token}: did you mean --ckpt_path {token}?"
    if Path(token).is_dir():
        return f"{token}: did you mean --data.data_dir {token}?"
    return f"lit-cnn {command} does not take the word {token!r}: settings are given as --name VALUE"


def _without_init_args(key: str) -> str:
    return key.replace(".init_args.", ".")


def has_flag(words: list[str], flag: str) -> bool:
    """Whether a flag is among the words of a command line, in any spelling, with or without a value."""
    return any(_canonical(word.partition("=")[0]) == flag for word in words[1:])
