"""Hand settings to the parser and back as objects: text of YAML or JSON would not keep every file name."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader, set_dumper, set_loader

from lit_cnn.utils import yaml_text

MODE = "lit_cnn"  # of parsers that read what is handed over
_PLAIN = "lit_cnn_plain"
_PATHS = ("--data.data_dir", "--data.init_args.data_dir", "--model.weights", "--trainer.default_root_dir")
_HANDED: dict[str, Any] = {}


def hand_over(text: str, content: Any) -> str:
    """Let parsers of :data:`MODE` take ``content`` where they read ``text``.

    Args:
        text: that of a file, whose path the parser gets, or any other.
        content: nested settings, or a text.

    Returns:
        The text.
    """
    _HANDED[text] = content
    return text


def forget() -> None:
    """Let parsers take every text for what it says again, when a command has ended: a process may run several."""
    _HANDED.clear()


def keep_paths(flags: Iterable[tuple[str, str]]) -> None:
    """Let parsers of :data:`MODE` take paths that exist as they are: ``#1`` and ``[x]`` would be YAML.

    Args:
        flags: of a command line, with their values.
    """
    for flag, value in flags:
        if flag in _PATHS and not _is_plain(value) and Path(value).exists():
            hand_over(value, value)


def _is_plain(text: str) -> bool:
    """Whether YAML takes a text for a text, a number, or a null that is meant."""
    try:
        value = get_loader("yaml")(text)
    except (yaml.YAMLError, UnicodeEncodeError):
        return False
    return value == text or isinstance(value, (bool, int, float)) or text.lower() in ("null", "~", "")


def _load(text: str) -> Any:
    if text in _HANDED:
        return copy.deepcopy(_HANDED[text])
    try:
        return get_loader("yaml")(text)
    except UnicodeEncodeError:  # undecodable bytes of a file's name
        return text


def plain(parser: ArgumentParser, config: Namespace) -> dict[str, Any]:
    """Parsed settings as nested plain types."""
    content: Any = parser.dump(config, format=_PLAIN, skip_unset=False, skip_validation=True)
    return dict(content)


def _plain(value: Any) -> Any:
    """The value in types that checkpoints and YAML hold."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, Path)):
        return str(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise TypeError(f"a setting holds {value!r}, which neither YAML nor a checkpoint can")


set_loader(MODE, _load, (yaml.YAMLError,))
set_dumper(MODE, lambda content: yaml_text.dump(_plain(content)))
set_dumper(_PLAIN, _plain)
