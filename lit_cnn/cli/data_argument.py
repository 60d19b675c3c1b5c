"""Which images a command reads: a data set by name in any spelling, or a folder, given as ``--data`` or as a word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.config import contents, plain_name
from lit_cnn.cli.config_keys import NO_AUGMENT
from lit_cnn.cli.flag_values import is_settings
from lit_cnn.data import Digits, ImageFolder, ImageList
from lit_cnn.data.lists.table import is_list, lists_in
from lit_cnn.data.registry import datasets, find_dataset
from lit_cnn.errors import UserError, nearest
from lit_cnn.models import MODELS

FOLDER, LIST = "ImageFolder", "ImageList"


def choose_data(arguments: Arguments, record: CheckpointRecord | None) -> str:
    """Put the name of a data set wherever the arguments name images, in place.

    A folder becomes ``ImageFolder`` with ``data.data_dir``, a list ``ImageList``. Given as ``data.data_dir`` alone they
    do too, unless a config or the checkpoint names a data set that reads other files.

    Args:
        arguments: the command line.
        record: the checkpoint that the command starts from, if any.

    Returns:
        The data set; ``""`` where none is named.

    Raises:
        UserError: for a folder that does not exist, and for one that is named twice.
    """
    chosen = str(record.config["data"]["class_path"]) if record is not None else ""
    unnamed: list[dict[str, Any]] = []
    for content in contents(arguments).values():
        if "data" in content:
            content["data"] = _named(content["data"])
        data = content.get("data")
        if isinstance(data, dict) and "class_path" not in data and not chosen:
            unnamed.append(data)
        elif isinstance(data, dict) and "class_path" in data:
            chosen = str(data["class_path"])
        elif isinstance(data, str):
            chosen = data
    chosen = _choose_by_flag(arguments) or chosen
    folder = next((value for flag, value in reversed(arguments.flags) if flag == "--data.data_dir"), None)
    folder = folder or next((data["init_args"]["data_dir"] for data in unnamed if _has_folder(data)), None)
    reader = _reader(folder) if folder is not None else ""
    if folder is not None and not arguments.images and (not chosen or _reads_other(chosen, folder)):
        _check_folder(folder, f"--data-dir {folder}")
        chosen = reader
        arguments.flags = [("--data", reader), *(flag for flag in arguments.flags if flag[0] != "--data")]
        arguments.notes.append(f"--data-dir {folder} is read as --data {reader} --data-dir {folder}")
    if not arguments.images and find_dataset(chosen) is Digits and "data.data_dir" in arguments.names():
        raise UserError("`data.data_dir` has no effect on Digits, which reads no folder: use --data DIR")
    if unnamed and not chosen:
        raise UserError(f"choose the images with --data NAME (and --data-dir DIR): {', '.join(datasets())}")
    for data in unnamed:
        data["class_path"] = chosen
    arguments.flags = [_flag(flag, value) for flag, value in arguments.flags]
    return chosen


def _reader(path: str) -> str:
    """The data set that reads a folder or a list."""
    return LIST if is_list(path) else FOLDER


def _reads_other(data: str, path: str) -> bool:
    """Whether a data set reads class folders and is given a list, or the other way round."""
    cls, place = find_dataset(data), Path(path).expanduser()
    if cls is ImageFolder:
        return is_list(path) and place.is_file()
    return cls is ImageList and place.is_dir() and not lists_in(place)


def _has_folder(data: Mapping[str, Any]) -> bool:
    return isinstance(data.get("init_args"), dict) and isinstance(data["init_args"].get("data_dir"), str)


def _choose_by_flag(arguments: Arguments) -> str:
    """Resolve every ``--data``; returns the last one."""
    chosen, flags = "", []
    for flag, value in arguments.flags:
        if flag != "--data" or is_settings(value):
            flags.append((flag, value))
            continue
        chosen = _name(value)
        flags.append((flag, chosen or _reader(value)))
        if not chosen:
            chosen = _reader(value)
            if any(other == "--data.data_dir" and folder != value for other, folder in arguments.flags):
                raise UserError(f"--data {value} and --data-dir both name a folder: give one of them")
            flags.append(("--data.data_dir", value))
            arguments.notes.append(f"{value} is read as --data {chosen} --data-dir {value}")
    arguments.flags = flags
    return chosen


def _named(data: Any) -> Any:
    """``data`` of a config with the name of a data set."""
    if isinstance(data, str) and not is_settings(data):
        name = _name(data)
        return name or {"class_path": _reader(data), "init_args": {"data_dir": data}}
    if isinstance(data, dict) and isinstance(data.get("class_path"), str):
        name = _name(data["class_path"])
        if name:
            return {**data, "class_path": name}
        init_args = data.get("init_args") or {}
        if "data_dir" in init_args:
            raise UserError(f"data: {data['class_path']} and data_dir both name a folder: give one of them")
        given = data["class_path"]
        return {**data, "class_path": _reader(given), "init_args": {**init_args, "data_dir": given}}
    return data


def _name(value: str) -> str:
    """The data set that a user means, or ``""`` for a folder or a list.

    Raises:
        UserError: it is neither.
    """
    known = datasets()
    if value in known or find_dataset(value) is not None:
        return value
    path = Path(value).expanduser()
    if path.is_dir() or "://" in value or (is_list(value) and path.is_file()):
        return ""
    if path.is_file():
        raise UserError(f"--data {value} is a file: unpack it, and give the folder, or a list as CSV or Parquet")
    if value.startswith((".", "~")) or "/" in value or "\\" in value or is_list(value):
        _check_folder(value, f"--data {value}")
    same = [name for name in known if plain_name(name) == plain_name(value)]
    if same:
        return same[0]
    if value in MODELS:
        raise UserError(f"{value} is a model, not a data set or a folder: did you mean --model.backbone {value}?")
    if "." in value:
        return value  # a class path, which the parser imports, or says that there is none
    if near := nearest(value, known):
        raise UserError(f"unknown data set {value!r}{near}")
    raise UserError(
        f"unknown data set {value!r}, and there is no such folder; known: {', '.join(known)}, or yours: "
        "--allow_import PACKAGE"
    )


def _check_folder(folder: str, given: str) -> None:
    place = Path(folder).expanduser()
    if is_list(folder) and not place.exists():
        near = nearest(place.name, [path.name for path in lists_in(place.parent)], 1) if place.parent.is_dir() else ""
        raise UserError(f"{given}: there is no such file{near or '; give a CSV or Parquet file that lists images'}")
    if "://" not in folder and not place.is_dir() and not is_list(folder):
        raise UserError(f"{given}: there is no such folder; give one that holds a folder of images per class")


def _flag(flag: str, value: str) -> tuple[str, str]:
    """A flag as the parser takes it: null for a nested setting of augment is read from a dictionary only."""
    none = value.strip().lower() in ("null", "~")
    if none and flag in ("--data.augment", "--data.init_args.augment"):
        return flag, json.dumps(NO_AUGMENT)
    head, _, name = flag.rpartition(".")
    if none and head.endswith(".augment") and name in NO_AUGMENT and NO_AUGMENT[name] is None:
        return head, json.dumps({name: None})
    return flag, value
