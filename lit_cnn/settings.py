"""Settings compared: what differs from the checkpoint or the defaults, and who said so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lit_cnn.errors import UserError


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
        source = "derived"
        for file, names in configs.items():
            if _mentions(names, name):
                source = file
        if _mentions(flags, name):
            source = "flag"
        rows.append(Difference(name, before, now, source))
    return rows


def _mentions(names: Iterable[str], name: str) -> bool:
    """True when ``name``, a part that holds it, or a part of it is among the names."""
    return any(name == n or name.startswith(f"{n}.") or n.startswith(f"{name}.") for n in names)


def print_differences(rows: list[Difference], against: str) -> None:
    """Print one small table, or a line when nothing differs."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not rows:
        console.print(f"settings: as in {against}", markup=False)
        return
    console.print(f"settings that differ from {against}:", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for column in ("setting", "was", "now", "from"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row.name, _short(row.before), _short(row.now), row.source)
    console.print(table)


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    # square brackets would be read as rich markup
    return (text if len(text) <= 60 else text[:57] + "...").replace("[", "\\[")
