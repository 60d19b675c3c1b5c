"""Settings compared: what differs from the checkpoint or the defaults, and who said so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lit_cnn.errors import UserError
from lit_cnn.utils.console import console


class Difference(NamedTuple):
    """One setting that is not what the checkpoint or the defaults say."""

    name: str
    before: Any
    now: Any
    source: str


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``{"data.batch_size": 64}``; the class of a part is under the part's own name.

    ``class_path`` and ``init_args`` are left out of the names, as on the command line.
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


def read_config(path: str) -> dict[str, Any]:
    """A YAML file as a dictionary.

    Raises:
        UserError: when it is missing, is no YAML, or holds something else than settings.
    """
    file = Path(path)
    if not file.is_file():
        near = sorted(str(p) for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        hint = f" there are: {', '.join(near)}" if near else ""
        raise UserError(f"no config file at {path}:{hint or ' give the path of a YAML file'}")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings: expected lines such as 'model:' and 'data:'")
    return content


def differences(
    final: Mapping[str, Any], reference: Mapping[str, Any], flags: Iterable[str], configs: Mapping[str, Iterable[str]]
) -> list[Difference]:
    """Settings of ``final`` that ``reference`` has otherwise.

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
    """Who set ``name``: the last that named it itself, else the last that named what it is a part of."""
    givers = [(file, set(names)) for file, names in configs.items()] + [("flag", flags)]
    for wanted in (name, *_parents(name)):
        for giver, names in reversed(givers):
            if wanted in names:
                return giver
    return "derived"


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]


def print_differences(rows: list[Difference], against: str) -> None:
    """Print one small table, or a line when nothing differs."""
    from rich.table import Table

    screen = console()
    if not rows:
        screen.print(f"settings: as in {against}", markup=False)
        return
    screen.print(f"settings that differ from {against}:", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for column in ("setting", "was", "now", "from"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row.name, _short(row.before), _short(row.now), row.source)
    screen.print(table)


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    # square brackets would be read as rich markup
    return (text if len(text) <= 60 else text[:57] + "...").replace("[", "\\[")
