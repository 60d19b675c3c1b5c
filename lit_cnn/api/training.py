"""``fit``: train as ``lit-cnn fit`` does, with settings given as Python values."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningDataModule
from torch import nn

from lit_cnn.api.classifier import Classifier, PathLike, load
from lit_cnn.cli.argv import Arguments, parse
from lit_cnn.cli.commands.run import run
from lit_cnn.cli.own_flags import OWN
from lit_cnn.cli.run_messages import best_checkpoint
from lit_cnn.errors import UserError

LIVE = "for an object of your own use Lightning's Trainer, with ImageClassifier and a data module"


@dataclass(frozen=True)
class TrainedRun:
    """A finished training run.

    Attributes:
        folder: the run folder; ``None`` after ``fast_dev_run``.
        best: checkpoint of the best epoch, if there is one.
        score: of that epoch, by the monitored metric (``val/acc``).
    """

    folder: Path | None
    best: Path | None
    score: float | None

    def load(self, **kwargs: Any) -> Classifier:
        """The best checkpoint's model; arguments as of :func:`load`.

        Raises:
            UserError: the run has no checkpoint.
        """
        if self.folder is None:
            raise UserError("the run has left no checkpoint")
        return load(self.best or self.folder, **kwargs)


def fit(
    config: PathLike | Mapping[str, Any] | None = None,
    *,
    resume: PathLike | bool | None = None,
    allow_import: str | Sequence[str] = (),
    callbacks: Callback | Sequence[Callback] | None = None,
    **overrides: Any,
) -> TrainedRun:
    """Train as ``lit-cnn fit`` does, with the same run folder and checkpoints.

    Args:
        config: a YAML file, the name of a shipped config, or nested settings.
        resume: a checkpoint, run folder or run's name to resume; ``True``, ``""`` or ``last``: the newest run.
        allow_import: packages of your own that the settings need; those imported already need not be named.
        callbacks: one or more further callbacks of the trainer.
        overrides: settings by the names of the flags (``name="base", epochs=3, data="Digits", amp=True``), with dots
            (``**{"model.lr_min": 0.001}``), or nested (``model={"lr": 0.1}``). Values are numbers, texts, paths, and
            lists and dictionaries of these.

    Raises:
        UserError: for every mistake in the settings.
    """
    further = _callbacks(callbacks)
    words = ["fit"]
    settings: dict[str, Any] = {}
    if isinstance(config, Mapping):
        settings |= _flags(config)
    elif config is not None:
        words.append(f"--config={_path(config, 'config')}")
    settings |= {k: v for k, v in _flags(overrides).items() if v is not None or f"--{k.replace('-', '_')}" not in OWN}
    words += [f"{'-' if len(name) == 1 else '--'}{name}={_text(name, value)}" for name, value in settings.items()]
    allowed = [allow_import] if isinstance(allow_import, str) else allow_import
    words += [f"--allow_import={name}" for name in allowed]
    if resume is not None and resume is not False:
        newest = resume is True or str(resume) in ("", "last")
        words.append("--resume" if newest else f"--resume={_path(resume, 'resume')}")
    cli = run(_parse(words), callbacks=further, python=True)
    path, score = best_checkpoint(cli.trainer)
    folder = cli.run.folder.resolve() if cli.run.folder is not None else None
    return TrainedRun(folder, Path(path) if path else None, score)


def _parse(words: list[str]) -> Arguments:
    """Parse the words, and refuse what only the command line does."""
    arguments = parse(words)
    bare = [word.lstrip("-") for word in arguments.bare if not word.endswith("=false")]
    if arguments.verify_resume is not None:
        bare.append("verify_resume")
    if bare:
        raise UserError(f"fit does not take {bare[0].partition('=')[0]}: it is for the command line, lit-cnn fit")
    arguments.bare = []
    return arguments


def _callbacks(given: Any) -> list[Callback]:
    if given is None:
        return []
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, (str, Callback)) else [given]
    for callback in found:
        if not isinstance(callback, Callback):
            raise UserError(f"callbacks holds {_kind(callback)}: give objects, callbacks=[EarlyStopping('val/loss')]")
    return found


def _flags(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by flag; the class of a part first, since its arguments depend on it."""
    flat: dict[str, Any] = {}
    if "class_path" in settings:
        flat[prefix] = settings["class_path"]
    for key, value in settings.items():
        name = f"{prefix}.{key}" if prefix else key
        if key == "class_path":
            continue
        if key == "init_args":
            flat |= _flags(value, prefix)
        elif isinstance(value, Mapping) and name in ("trainer", "model", "data", "data.augment", "checkpoint"):
            flat |= _flags(value, name)
        else:
            flat[name] = value
    return flat


def _path(value: Any, name: str) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise UserError(f"{name} is {_kind(value)}: give a path or a name")
    return os.fspath(value)


def _text(name: str, value: Any) -> str:
    """The value of a setting as a word of the command line."""
    plain = _plain(name, value)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _plain(name: str, value: Any) -> Any:
    """The value as JSON has it.

    Raises:
        UserError: it holds an object that is no setting.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(name, item) for item in value]
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, LightningDataModule):
        raise UserError(f'`{name}` is {_kind(value)}: give data by name, data="{kind.__name__}"; {LIVE}')
    if issubclass(kind, Callback):
        raise UserError(f"`{name}` holds {_kind(value)}: give callbacks as callbacks=[{kind.__name__}(...)]")
    if issubclass(kind, nn.Module):
        raise UserError(f"`{name}` is {_kind(value)}: register a model and name it, see register_model; {LIVE}")
    raise UserError(
        f"`{name}` is {_kind(value)}: give numbers, texts, paths, or lists and dictionaries of these; {LIVE}"
    )


def _kind(value: Any) -> str:
    return (
        f"the class {value.__name__}" if isinstance(value, type) else f"an object of the class {type(value).__name__}"
    )
