"""Spellings: what hands already know from other tools, turned into the command line's own words.

Works on plain lists of strings before anything heavy is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lit_cnn.errors import UserError, nearest

COMMANDS = {
    "fit": "train a model, or go on with --ckpt_path / --resume",
    "test": "measure a checkpoint on the test images",
    "predict": "name what is in pictures",
    "validate": "measure a checkpoint on the validation images",
    "prepare": "fetch and check the images, as fit would before it trains",
    "models": "list the backbones",
    "inspect": "look inside a backbone: shapes, parameters, receptive fields",
}
COMMAND_ALIASES = {"train": "fit", "val": "validate"}

ALIASES = {
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
    "-c": "--config",
}
# Flags that other tools have without a value.
SWITCHES = {
    "--pretrained": ["--model.weights", "imagenet"],
    "--amp": ["--trainer.precision", "bf16-mixed"],
    "--deterministic": ["--trainer.deterministic", "true"],
}
VERIFY, VERIFY_STEPS = "--verify_resume", 24
# Flags that are given without a value here.
BARE = {"--help", "-h", "--print_config", *SWITCHES}


@dataclass
class Arguments:
    """A command line taken apart.

    Attributes:
        command: fit, validate, test or predict.
        flags: ``[("--data.batch_size", "64"), …]`` in order, without those below.
        configs: values of ``--config`` in order.
        ckpt_path: value of ``--ckpt_path``.
        resume: ``None`` when not asked for, ``""`` for the newest run, else a checkpoint or run folder.
        images: files and folders given to ``predict``.
        allow_import: packages that settings may name classes of, besides those that they always may.
        resume_anyway: resume although what decides the order of the samples has changed.
        shards: value of ``--shards``: a folder that ``prepare`` writes shards to.
        shard_mb: value of ``--shard_mb``: their size; ``None`` when not given.
        verify_resume: compare a killed and resumed run of so many steps with a straight one instead of training.
        bare: flags without a value, such as ``--help``.
    """

    command: str
    flags: list[tuple[str, str]] = field(default_factory=list)
    configs: list[str] = field(default_factory=list)
    ckpt_path: str | None = None
    resume: str | None = None
    images: list[str] = field(default_factory=list)
    allow_import: list[str] = field(default_factory=list)
    resume_anyway: bool = False
    verify_resume: int | None = None
    shards: str | None = None
    shard_mb: int | None = None
    bare: list[str] = field(default_factory=list)

    def names(self) -> set[str]:
        """Names of the settings given as flags, such as ``data.batch_size``."""
        return {_without_init_args(flag.lstrip("-").rstrip("+")) for flag, _ in self.flags}


def parse(args: list[str]) -> Arguments:
    """Take a command line apart and translate aliases.

    Raises:
        UserError: for an unknown command, or a flag without its value.
    """
    command = COMMAND_ALIASES.get(args[0], args[0])
    if command not in COMMANDS:
        known = [*COMMANDS, *COMMAND_ALIASES]
        raise UserError(f"unknown command {args[0]!r}{nearest(args[0], known) or ';'} commands: {', '.join(COMMANDS)}")
    parsed = Arguments(command)
    position = 1
    while position < len(args):
        token = args[position]
        position += 1
        if not token.startswith("-") or token == "-":
            if command == "predict":
                parsed.images.append(token)
                continue
            raise UserError(_stray(command, token))
        flag, equals, value = token.partition("=")
        flag = _canonical(flag)
        following = args[position] if position < len(args) else None
        if flag == "--resume":
            if not equals and following is not None and not following.startswith("-"):
                value, position = following, position + 1
            parsed.resume = value
            continue
        if flag == VERIFY:
            if not equals and following is not None and following.isdigit():
                value, position = following, position + 1
            if value and not value.isdigit():
                raise UserError(f"{VERIFY} {value}: expected a number of steps, or nothing")
            parsed.verify_resume = int(value) if value else VERIFY_STEPS
            continue
        if flag == "--resume_anyway" and not equals:
            parsed.resume_anyway = True
            continue
        if flag in BARE:
            if flag in SWITCHES:
                parsed.flags.append((SWITCHES[flag][0], value or SWITCHES[flag][1]))
            else:
                parsed.bare.append(f"{flag}={value}" if equals else flag)
            continue
        if not equals:
            if following is None or _is_flag(following):
                raise UserError(f"{token} needs a value: {token} VALUE")
            value, position = following, position + 1
        _place(parsed, flag, value)
    if parsed.shards is not None and command != "prepare":
        raise UserError(f"--shards has no effect on {command}: lit-cnn prepare writes shards")
    if parsed.shard_mb is not None and parsed.shards is None:
        raise UserError("--shard_mb is the size of shards: say where to write them, --shards DIR")
    return parsed


def without_verify(words: list[str]) -> list[str]:
    """The same command line as a plain training run."""
    kept: list[str] = []
    for position, word in enumerate(words):
        after = position > 0 and _canonical(words[position - 1]) == VERIFY
        if _canonical(word.partition("=")[0]) != VERIFY and not (after and word.isdigit()):
            kept.append(word)
    return kept


def _place(parsed: Arguments, flag: str, value: str) -> None:
    if flag == "--config":
        parsed.configs.append(value)
    elif flag == "--ckpt_path":
        parsed.ckpt_path = value
    elif flag == "--allow_import":
        parsed.allow_import += [name.strip() for name in value.split(",")]
    elif flag == "--shards":
        parsed.shards = value
    elif flag == "--shard_mb":
        if not value.isdigit() or int(value) < 1:
            raise UserError(f"{flag} {value}: expected a whole number of megabytes, at least 1")
        parsed.shard_mb = int(value)
    elif flag in ("--device", "--devices"):
        parsed.flags.extend(_device(value))
    else:
        parsed.flags.append((flag, value))


def _canonical(flag: str) -> str:
    """``--batch-size`` is ``--batch_size`` is ``--data.batch_size``."""
    if flag.startswith("--"):
        flag = "--" + flag[2:].replace("-", "_")
    return ALIASES.get(flag, flag)


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
    return f"lit-cnn {command} does not know what to do with {token!r}: settings are given as --name VALUE"


def _without_init_args(key: str) -> str:
    return key.replace(".init_args.", ".")
