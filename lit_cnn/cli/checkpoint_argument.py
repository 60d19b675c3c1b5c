"""Find the checkpoint that a command loads, from ``--ckpt_path`` or ``--resume``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lit_cnn import run_folder
from lit_cnn.checkpoint.find import find_checkpoint, newest_valid_first, read_newest
from lit_cnn.checkpoint.record import CheckpointRecord, read_record
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.config import last_value
from lit_cnn.cli.exported_model import check_exported_flags, read_model
from lit_cnn.cli.restart import restarts
from lit_cnn.data.lists.table import is_list
from lit_cnn.data.registry import find_dataset
from lit_cnn.errors import UserError
from lit_cnn.plugins import announced
from lit_cnn.utils.console import say
from lit_cnn.utils.files import expand_home

UNLABELLED = {"classification": "Images", "restoration": "WholeImages"}  # data sets for predict, by task


def find_record(arguments: Arguments, root: Path) -> CheckpointRecord | None:
    """The checkpoint that the command loads, if any; a resume falls back to the newest one that is not damaged.

    Args:
        arguments: the command line.
        root: folder that holds ``lightning_logs``.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    command = arguments.command
    if "--help" in arguments.bare or "-h" in arguments.bare:
        return None
    if arguments.resume is not None:
        if command != "fit":
            raise UserError(f"--resume is for fit; {command} takes --ckpt_path")
        if arguments.ckpt_path:
            raise UserError("--resume and --ckpt_path both name a checkpoint: give one of them")
        if restarts(arguments, root):
            return None
        wanted, name = arguments.resume, "last"
    elif arguments.ckpt_path:
        wanted, name = arguments.ckpt_path, "last" if command == "fit" else "best"
    elif command == "fit":
        return None
    else:
        raise UserError(
            f"{command} needs a trained model: --ckpt_path PATH, or --ckpt_path best for the newest run's best one"
        )
    if arguments.resume in ("", "auto"):
        newest = run_folder.newest_run(root, arguments.name)
        if arguments.resume == "auto" and (newest is None or not run_folder.checkpoints_in(newest)):
            return None  # nothing to resume: start
        wanted = "" if arguments.name is None else str(newest or arguments.name)
    wanted = expand_home(wanted)
    path = find_checkpoint(wanted, root, name, resume=command == "fit")
    check_exported_flags(arguments, path)
    if command != "fit":
        if str(path) != wanted:
            say(f"checkpoint: {path}")
        return read_model(path)
    _refuse_other_name(arguments.name, path)
    # a run's newest checkpoint may have another name than last.ckpt; one that the user named is the one meant
    candidates = newest_valid_first(path.parent)
    if str(path) == wanted or path.stem in ("best", "previous"):
        candidates = [path, *(p for p in candidates if p != path)]
    record, damaged = read_newest(candidates)
    for line in damaged:
        say(f"skipped: {line}", error=True)
    if str(record.path) != wanted:
        say(f"checkpoint: {record.path} (step {record.step})")
    if record.averaged:
        raise UserError(
            f"{record.path} holds averaged weights, which have no optimizer state to resume: start a run from them "
            f"with --model.weights {record.path}"
        )
    if not record.exact:
        say(f"note: {record.path} was saved where a run cannot be resumed exactly")
    return record


def _refuse_other_name(name: str | None, checkpoint: Path) -> None:
    run = run_folder.run_folder_of(checkpoint)
    if name is not None and run is not None and not run_folder.is_named(run, name):
        raise UserError(
            f"--name {name}: a resumed run keeps its folder, {run_folder.format_path(run)}: leave --name out"
        )


def check_plugins(record: CheckpointRecord, allowed: Sequence[str], *, python: bool = False) -> None:
    """Refuse a checkpoint whose model, loss, data set or transform a missing package defines.

    Args:
        record: of the checkpoint.
        allowed: packages that the user allows, besides those that installed distributions announce.
        python: for a Python caller: what is imported already is allowed, and the message names Python's argument.

    Raises:
        UserError: naming the packages and how to allow them.
    """
    known = {*allowed, *announced(), *(sys.modules if python else ())}
    missing = [name for name in record.requires if name not in known]
    if not missing:
        return
    flags = f"add {' '.join(f'--allow_import {name}' for name in missing)}"
    how = f"import it, or give allow_import={json.dumps(missing)}," if python else flags
    raise UserError(f"{record.path} was trained with code of {', '.join(missing)}: {how} if you trust it")


def open_checkpoint(wanted: str, allowed: Sequence[str]) -> CheckpointRecord:
    """The checkpoint that a command without settings is given; says which one it is where that was not typed.

    Args:
        wanted: a file, a run folder or name, or best / last of the newest run.
        allowed: packages that the user allows.

    Raises:
        UserError: there is none, it is damaged, or it needs a package that is not allowed.
    """
    path = find_checkpoint(wanted, Path(), "best")
    if str(path) != wanted:
        say(f"checkpoint: {path}")
    record = read_record(path)
    check_plugins(record, allowed)
    return record


def given_root(arguments: Arguments) -> Path | None:
    """The folder that holds lightning_logs, ``trainer.default_root_dir``, where flags or configs give one."""
    given = last_value(arguments, "trainer.default_root_dir")
    return Path(expand_home(given)) if given else None


def find_data_dir(record: CheckpointRecord, base: dict[str, Any]) -> None:
    """Set a relative data folder of the checkpoint to where it is, for a command in another working folder.

    It is looked for in the working folder, then where the run read it, then beside lightning_logs.

    Args:
        record: of the checkpoint.
        base: settings that it brings; changed in place.
    """
    settings = base["data"]["init_args"]
    given = settings.get("data_dir")
    if not given or "://" in given or Path(given).is_absolute() or Path(given).exists():
        return
    run = run_folder.run_folder_of(record.path)
    candidates = [record.data_dir, *([str(run.parent.parent.absolute() / given)] if run is not None else [])]
    found = next((path for path in candidates if path and Path(path).exists()), None)
    if found is not None:
        settings["data_dir"] = found
        say(f"data: {found} ({given} is relative to another working folder)")


def take_folder_to_predict(arguments: Arguments) -> None:
    """``predict --data-dir DIR`` and ``--data DIR`` classify all images in DIR, as ``predict DIR`` does.

    ``predict -`` classifies the files and folders that standard input names, one a line.

    Raises:
        UserError: it names none.
    """
    if arguments.command != "predict":
        return
    if "-" in arguments.images:
        named = [line.rstrip("\r\n") for line in sys.stdin]
        named = [line for line in named if line.strip()]
        if not named:
            raise UserError("standard input names no images: give one path a line, such as find photos -name '*.jpg'")
        at = arguments.images.index("-")
        arguments.images[at : at + 1] = named
    if arguments.images:
        return
    named = last_value(arguments, "data")
    flag = "--data.data_dir" if named is None else "--data"
    folders = [value for name, value in arguments.flags if name == flag]
    both = named is not None and "data.data_dir" in arguments.names()
    if folders and not both and (named is None or _is_folder(folders[-1])):
        arguments.images = folders[-1:]
        arguments.flags = [(name, value) for name, value in arguments.flags if name != flag]


def _is_folder(data: str) -> bool:
    place = Path(data).expanduser()
    return find_dataset(data) is None and (place.is_dir() or (is_list(data) and place.is_file()))


def predict_data(record: CheckpointRecord, paths: list[str]) -> dict[str, Any]:
    """Settings of the data set for unlabelled images, preprocessed as those that the model was trained on."""
    stored = record.config["data"]["init_args"]
    policy = {k: stored[k] for k in ("max_pixels",) if k in stored}
    init_args = {
        "on_bad_image": "skip",
        **policy,
        **record.preprocessing,
        "class_names": record.class_names,
        "paths": paths,
    }
    return {"class_path": f"lit_cnn.data.{UNLABELLED[record.task]}", "init_args": init_args}
