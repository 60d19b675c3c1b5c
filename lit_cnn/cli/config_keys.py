"""Keys of a config file: those of other tools and those in the wrong place, put where they belong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lit_cnn.cli.argv import SWITCHES, canonical, unknown_flag
from lit_cnn.cli.flag_values import device_flags, is_settings
from lit_cnn.cli.other_tools import NAMED_VALUES, NO_FILE, advice, translate
from lit_cnn.cli.own_flags import OWN
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.errors import UserError

PARTS = ("trainer", "model", "data", "checkpoint")
KEYS = ("seed_everything", *PARTS, "checkpoint_every", "skip_nonfinite_steps", "patience")
PRINTED = ("--ckpt_path", "--weights_only")  # by --print_config, as null
NO_AUGMENT = asdict(Augment())


def normalize(content: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Settings of a file with every key where the parser expects it.

    Args:
        content: what the file says.
        path: of the file, for messages.

    Raises:
        UserError: for a key that another tool has and this one has not, and for a setting that is there twice.
    """
    settings: dict[str, Any] = {}
    for key, value in content.items():
        if key in KEYS:
            _check_part(key, value, path)
            settings[key] = _part(key, value)
    for key, value in content.items():
        if key in KEYS:
            continue
        for name, setting in _place(str(key), value, path):
            if not _put(settings, name, setting):
                raise UserError(f"{path}: {key} is {name}, which is there too: keep one of them")
    for name in NAMED_VALUES:
        *parents, last = _keys(name)
        inner: Any = settings
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get(last), (str, bool)):
            text = translate(name, inner[last])
            inner[last] = None if text == "null" else text
    return settings


def _check_part(key: str, value: Any, path: str) -> None:
    """Refuse a part of the settings that holds none."""
    if key not in PARTS or value is None or isinstance(value, Mapping):
        return
    if isinstance(value, str) and (key in ("model", "data") or is_settings(value)):
        return
    if key == "checkpoint" and isinstance(value, str):
        raise UserError(f"{path}: checkpoint: {value}: {NO_FILE['--checkpoint']}")
    raise UserError(f"{path}: {key} takes settings (lines below it), got {json.dumps(value, default=str)}")


def _part(key: str, value: Any) -> Any:
    """A part of the settings; ``model: resnet18`` is ``model: {backbone: resnet18}``."""
    if key == "model" and isinstance(value, str) and not is_settings(value):
        return {"backbone": value}
    if key == "data" and isinstance(value, Mapping) and value:
        own = {k: v for k, v in value.items() if k in ("class_path", "dict_kwargs")}
        rest = {k: v for k, v in value.items() if k not in (*own, "init_args")}
        init_args = {**(value.get("init_args") or {}), **rest}
        if "augment" in init_args and init_args["augment"] is None:
            init_args["augment"] = NO_AUGMENT
        return {**own, "init_args": init_args} if init_args else own
    return dict(value) if isinstance(value, Mapping) else value


def _place(key: str, value: Any, path: str) -> list[tuple[str, Any]]:
    """Settings, by dotted name, that a key at the top of a file means."""
    flag = canonical(f"--{key}")
    if flag in SWITCHES and isinstance(value, (bool, type(None))):
        setting, on, off = SWITCHES[flag]
        text = on if value else off
        return [(setting.lstrip("-"), None if text == "null" else text)]
    if flag in ("--device", "--devices"):
        flags, number = device_flags(str(value), how_many=flag == "--devices")
        extra = [("--trainer.devices", number)] if number else []
        return [(f.lstrip("-"), _numbers(text)) for f, text in [*flags, *extra]]
    if value is None and flag in PRINTED:
        return []
    if flag in OWN:
        raise UserError(f"{path}: {key} is for the command line: {flag} {value}")
    name = flag.lstrip("-")
    if name in KEYS or (name.partition(".")[0] in PARTS and "." in name):
        return [(name, value)]
    if hint := advice(name, key=True):
        raise UserError(f"{path}: unknown setting {key}: {hint}")
    raise UserError(f"{path}: {unknown_flag(key)}")


def _numbers(text: str) -> Any:
    """The value of ``trainer.devices`` in a config: ``[0,1]`` is a list."""
    return [int(number) for number in text.strip("[]").split(",")] if text.startswith("[") else text


def _keys(name: str) -> list[str]:
    """Keys that lead to a setting: the arguments of the data set are below init_args."""
    first, *rest = name.split(".")
    return [first, "init_args", *rest] if first == "data" and rest else [first, *rest]


def _put(settings: dict[str, Any], name: str, value: Any) -> bool:
    """Set a nested setting; False where it is there already."""
    *parents, last = _keys(name)
    inner = settings
    for parent in parents:
        below = inner.get(parent)
        if parent == "data" and isinstance(below, str) and not is_settings(below):
            below = {"class_path": below}
        if below is not None and not isinstance(below, dict):
            return False
        inner[parent] = inner = {} if below is None else below
    if last in inner:
        return False
    inner[last] = value
    return True
