"""Hand settings to the parser and back as objects: text of YAML or JSON would not keep every file name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader, set_dumper, set_loader

from lit_cnn.utils import yaml_text

MODE = "lit_cnn"  # of parsers that read what is handed over
_PLAIN = "lit_cnn_plain"
_HANDED: dict[str, Any] = {}


def hand_over(text: str, content: Mapping[str, Any]) -> str:
    """Let parsers of :data:`MODE` take ``content`` where they read ``text``.

    Args:
        text: that of a file, whose path the parser gets, or any other.
        content: nested settings.

    Returns:
        The text.
    """
    _HANDED[text] = content
    return text


def _load(text: str) -> Any:
    return copy.deepcopy(_HANDED[text]) if text in _HANDED else get_loader("yaml")(text)


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
