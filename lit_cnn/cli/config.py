"""Config files and settings: find and read them, and compare them with the checkpoint or the defaults."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import ArgumentParser, Namespace

from lit_cnn import models, plugins
from lit_cnn.checkpoint.renamed_models import current_model_name, names_known
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.config_keys import normalize
from lit_cnn.cli.shipped_configs import shipped_configs
from lit_cnn.data import ImageDataModule
from lit_cnn.data.registry import find_dataset
from lit_cnn.data.transforms.registered import TRANSFORMS
from lit_cnn.errors import UserError, nearest
from lit_cnn.tasks.losses import LOSSES
from lit_cnn.utils import yaml_text
from lit_cnn.utils.console import say, show
from lit_cnn.utils.files import expand_home


class Difference(NamedTuple):
    """A setting whose value is not that of the checkpoint or the defaults."""

    name: str
    before: Any
    now: Any
    source: str


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``{"data.batch_size": 64}``; the class of a part is under the part's own name.

    Names are without ``class_path`` and ``init_args``, as on the command line.
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if key == "class_path" and prefix:
            flat[prefix] = str(value).rpartition(".")[2]
        elif isinstance(value, Mapping) and value:
            flat.update(flatten(value, prefix if key == "init_args" else name))
        else:
            flat[name] = value
    return flat


def drop(config: dict[str, Any], name: str) -> None:
    """Remove the setting called ``name``, such as ``trainer.callbacks``, if it is there."""
    *parents, last = name.split(".")
    inner: Any = config
    for parent in parents:
        inner = inner.get(parent, {}) if isinstance(inner, dict) else {}
    if isinstance(inner, dict):
        inner.pop(last, None)


def find_config(name: str) -> str:
    """The path of a config: a file, or a shipped one by its bare name, such as ``lenet_digits``.

    Raises:
        UserError: when there is none.
    """
    name = expand_home(name)
    file, shipped = Path(name), shipped_configs()
    if file.is_file():
        return name
    if file.stem in shipped and file.name == name and file.suffix in ("", ".yaml"):
        return str(shipped[file.stem])
    if file.suffix or file.parent != Path():
        near = sorted(str(p) for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        hint = f" there are: {', '.join(near)}" if near else ""
        raise UserError(f"no config file at {name}:{hint or ' lit-cnn configs lists those that come with lit-cnn'}")
    hint = nearest(name, shipped) or ":"
    raise UserError(
        f"no config {name!r}, neither a file nor a shipped one{hint} lit-cnn configs lists the shipped ones"
    )


def display_name(path: str) -> str:
    """How a config file is called on the terminal: a shipped one by its bare name."""
    shipped = {str(file): name for name, file in shipped_configs().items()}
    return shipped.get(path, path)


def read_config(path: str) -> dict[str, Any]:
    """A YAML file as a dictionary, with every key where it belongs.

    In the config.yaml of a run of an earlier version, networks get the names that they have today.

    Raises:
        UserError: when it is not YAML, or holds something else than settings.
    """
    try:
        text = read_text(path)
        content = yaml_text.load(text)
    except yaml_text.DuplicateKeyError as error:
        raise UserError(f"{path}: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {_short_reason(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings: expected lines such as 'model:' and 'data:'")
    content = normalize(content, path)
    model = content.get("model")
    if isinstance(model, dict) and isinstance(old := model.get("backbone"), str):
        model["backbone"] = current_model_name(old, names_known(text))
        if model["backbone"] != old:
            say(f"note: {path} was written when {model['backbone']} was called {old}: that is another network now")
    return content


def read_text(path: str) -> str:
    """The text of a config file.

    Raises:
        UserError: when it cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: it is not encoded in UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"cannot read the config file {path}: {error.strerror}") from error


def _short_reason(error: yaml.YAMLError) -> str:
    """What is wrong, and in which line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or not problem:
        return " ".join(str(error).split())
    tabs = "; YAML is indented with spaces" if "'\\t'" in problem else ""
    return f"{problem} in line {mark.line + 1}, column {mark.column + 1}{tabs}"


def contents(arguments: Arguments) -> dict[str, dict[str, Any]]:
    """Settings of every config file, by path; each is read once."""
    for path in arguments.configs:
        if path not in arguments.contents:
            arguments.contents[path] = read_config(path)
    return {path: arguments.contents[path] for path in arguments.configs}


def expand_homes(settings: Any) -> Any:
    """Settings with ``~`` at the beginning of paths replaced by the home folder, whatever they are called.

    Args:
        settings: a value, or nested ones, which are changed in place.
    """
    if isinstance(settings, str):
        return expand_home(settings) if settings == "~" or settings.startswith(("~/", f"~{os.sep}")) else settings
    if isinstance(settings, (Namespace, dict)):
        for key, value in (vars(settings) if isinstance(settings, Namespace) else dict(settings)).items():
            if key != "class_names":  # a class may be called ~
                settings[key] = expand_homes(value)
    elif isinstance(settings, list):
        settings[:] = [expand_homes(value) for value in settings]
    return settings


def spell_models(arguments: Arguments) -> None:
    """Give ``model.backbone`` the name that a model has, where only case and hyphens differ: ``ResNet18``, in place."""
    for content in contents(arguments).values():
        model = content.get("model")
        if isinstance(model, dict) and isinstance(model.get("backbone"), str):
            model["backbone"] = _model_name(model["backbone"])
    arguments.flags = [
        (flag, _model_name(value) if flag == "--model.backbone" else value) for flag, value in arguments.flags
    ]


def _model_name(name: str) -> str:
    if name in models.MODELS or "/" in name:
        return name
    same = [known for known in models.MODELS if plain_name(known) == plain_name(name)]
    return same[0] if len(same) == 1 else name


def plain_name(name: str) -> str:
    """Letters and digits of a name, in lower case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def last_value(arguments: Arguments, name: str) -> Any:
    """The value of a setting by the last flag, else the last config file, that gives it; ``None`` where none does."""
    given = [flatten(content).get(name) for content in contents(arguments).values()]
    given += [value for flag, value in arguments.flags if flag == f"--{name}"]
    return next((value for value in reversed(given) if value), None)


def data_settings(name: str) -> list[str]:
    """Settings of the data set of that name (or class path), such as ``data.batch_size``."""
    probe = ArgumentParser()
    probe.add_class_arguments(find_dataset(name) or ImageDataModule, "data")
    return [a.dest for a in probe._actions if a.dest not in ("help", "data.seed")]


def required_plugins(plain: Mapping[str, Any]) -> list[str]:
    """The user's packages that the model, the loss, the data set or the transform of a run come from.

    Args:
        plain: resolved settings, nested plain types.
    """
    model, data = plain["model"], plain["data"]
    augment = data["init_args"].get("augment") or {}
    info = models.MODELS.get(model["backbone"])
    used = [
        info and info.factory,
        LOSSES.get(model["loss"]),
        TRANSFORMS.get(augment.get("transform")),
        find_dataset(data["class_path"]),
    ]
    names = [plugins.provider(item.__module__) for item in used if item is not None]
    return sorted({name for name in names if name is not None})


def differences(
    final: Mapping[str, Any], reference: Mapping[str, Any], flags: Iterable[str], configs: Mapping[str, Iterable[str]]
) -> list[Difference]:
    """Settings of ``final`` that differ in ``reference``.

    Args:
        final: resolved settings, flat.
        reference: those of the checkpoint or the defaults, flat.
        flags: names given as flags.
        configs: names that each config file sets, in the order given: the last one that sets a name wins.
    """
    flags = set(flags)
    rows = []
    for name, now in final.items():
        before = reference.get(name)
        if now == before:
            continue
        rows.append(Difference(name, before, now, _source(name, flags, configs)))
    return rows


def _source(name: str, flags: set[str], configs: Mapping[str, Iterable[str]]) -> str:
    """Where ``name`` was set: by the last that names it, else by the last that names a part of settings around it."""
    givers = [(file, set(names)) for file, names in configs.items()] + [("flag", flags)]
    for candidate in (name, *_parents(name)):
        for giver, names in reversed(givers):
            if candidate in names:
                return giver
    return "derived"


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]


def print_differences(rows: list[Difference], against: str) -> None:
    """Print one small table, or a line when nothing differs."""
    from rich.table import Table

    if not rows:
        say(f"settings: as in {against}")
        return
    say(f"settings that differ from {against}:")
    table = Table(box=None, pad_edge=False)
    for column in ("setting", "was", "now", "from"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row.name, _short(row.before), _short(row.now), row.source)
    show(table)


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    # square brackets would be read as rich markup
    return (text if len(text) <= 60 else text[:57] + "...").replace("[", "\\[")
