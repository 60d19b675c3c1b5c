"""Run folders: make and lock them, and find a checkpoint by a word such as ``best``."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lit_cnn.errors import UserError
from lit_cnn.utils.files import expand_home, file_lock

LOGS = "lightning_logs"


def run_folders(root: Path) -> list[Path]:
    """Run folders ``root/lightning_logs/version_N``, oldest first."""
    folders = [p for p in (root / LOGS).glob("version_*") if p.is_dir() and p.name[8:].isdigit()]
    return sorted(folders, key=lambda p: int(p.name[8:]))


def new_run_folder(root: Path) -> Path:
    """Make the next ``version_N``; two runs that start together get one each."""
    folders = run_folders(root)
    first = int(folders[-1].name[8:]) + 1 if folders else 0
    return _make_first_free((root / LOGS / f"version_{n}" for n in itertools.count(first)), "the run folder")


def _make_first_free(folders: Iterator[Path], what: str) -> Path:
    """Make the first of the folders that does not exist; of two processes that start together each gets its own."""
    for folder in folders:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except OSError as error:
            if isinstance(error, FileExistsError) and folder.parent.is_dir():
                continue
            no_folder = isinstance(error, FileExistsError) or folder.parent.is_file()
            reason = f"{folder.parent} is not a folder" if no_folder else error.strerror
            raise UserError(
                f"cannot write {what} {folder}: {reason}; choose another place with `trainer.default_root_dir=DIR`"
            ) from error
        return folder
    raise AssertionError("the folders to try do not end")


_LOCKS: dict[Path, FileLock] = {}  # of this process; the system frees them with it, however it ends


def lock(run: Path) -> None:
    """Lock a run folder for this process, until it ends.

    Raises:
        UserError: when another process is training there, or the folder cannot be written.
    """
    if run.resolve() in _LOCKS:
        return
    held, owner = file_lock(run / ".lock"), run / ".lock_owner"
    try:
        held.acquire(timeout=0)
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    except Timeout:
        who = owner.read_text(encoding="utf-8") if owner.is_file() else "unknown"
        raise UserError(f"{run} is being trained by another process ({who}): wait for it, or stop it") from None
    except NotImplementedError:  # a filesystem without locks
        return
    except OSError as error:
        raise UserError(f"cannot write the run folder {run}: {error.strerror}") from error
    _LOCKS[run.resolve()] = held


def discard(run: Path) -> None:
    """Delete the folder of a run that did not start, with its lock."""
    held = _LOCKS.pop(run.resolve(), None)
    if held is not None:
        held.release()
    shutil.rmtree(run, ignore_errors=True)


def new_subfolder(run: Path, name: str) -> Path:
    """A fresh folder ``run/name``, or ``run/name_2`` and so on: an earlier evaluation is never overwritten."""
    numbered = (run / f"{name}_{number}" for number in itertools.count(2))
    return _make_first_free(itertools.chain([run / name], numbered), "results to")


def run_folder_of(checkpoint: Path) -> Path | None:
    """The run folder that holds a checkpoint, ``None`` for one that was copied elsewhere."""
    folder = checkpoint.resolve().parent
    return folder.parent if folder.name == "checkpoints" else None


def find_checkpoint(wanted: str, root: Path, name: str, resume: bool = False) -> Path:
    """Resolve what the user typed to a checkpoint file to evaluate or resume.

    Args:
        wanted: a file; a run folder; ``best`` or ``last`` of the newest run; ``""`` for the newest run's ``name``.
        root: folder that holds ``lightning_logs``.
        name: ``best`` or ``last``: which one of a run folder.
        resume: accept a run folder that has other checkpoints only: the result may then not exist.

    Raises:
        UserError: when there is none, saying where it looked.
    """
    wanted = expand_home(wanted)
    if wanted in ("", "best", "last") and not Path(wanted or ".").is_file():
        name = wanted or name
        run = newest_run(root)
        if run is None:
            raise UserError(
                f"no run under {root / LOGS} has a checkpoints/{name}.ckpt: train first with "
                "lit-cnn fit `config=FILE`, or give the checkpoint's path"
            )
        there = checkpoints_in(run)
        if run / "checkpoints" / f"{name}.ckpt" in there or (there and resume):
            return run / "checkpoints" / f"{name}.ckpt"
        if there:  # never an older run's instead
            raise UserError(f"the newest run has no {name}.ckpt; it has: {', '.join(map(str, there))}")
        raise UserError(
            f"the newest run, {run}, stopped before its first checkpoint: restart it with "
            f"lit-cnn fit `config={run / 'config.yaml'}`, or name an older run's folder"
        )
    path = Path(wanted)
    if (path / LOGS).is_dir():  # a root, as `trainer.default_root_dir` names one
        return find_checkpoint("", path, name, resume)
    if path.is_dir():
        for candidate in (path / "checkpoints" / f"{name}.ckpt", path / f"{name}.ckpt"):
            if candidate.is_file():
                return candidate
        if resume and checkpoints_in(path):
            return path / "checkpoints" / f"{name}.ckpt"
        others = sorted(str(p) for p in path.rglob("*.ckpt"))
        hint = f"; it has: {', '.join(others)}" if others else ""
        raise UserError(f"{path} holds no checkpoints/{name}.ckpt{hint}")
    if not path.is_file():
        others = sorted(str(p) for p in path.parent.glob("*.ckpt")) if path.parent.is_dir() else []
        others = others or [str(run / "checkpoints") for run in run_folders(root)[-3:]]
        hint = f" there are: {', '.join(others)}" if others else " train first with lit-cnn fit `config=FILE`"
        raise UserError(f"no checkpoint at {path}:{hint}")
    return path


def newest_run(root: Path) -> Path | None:
    """The newest training run's folder; folders that hold only evaluations do not count."""
    runs = [run for run in run_folders(root) if (run / "config.yaml").is_file() or checkpoints_in(run)]
    return runs[-1] if runs else None


def checkpoints_in(run: Path) -> list[Path]:
    """The checkpoints of a run, by name."""
    return sorted((run / "checkpoints").glob("*.ckpt"))


def format_path(path: str | Path) -> str:
    """A path relative to the working directory if it is inside it, as one would type it."""
    try:
        path, here = Path(path).resolve(), Path.cwd()
    except OSError:  # the working directory is gone
        return str(path)
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def shell_path(path: str | Path) -> str:
    """The same as a word of a command line."""
    shown = format_path(path)
    shown = f"./{shown}" if shown.startswith("-") else shown  # else it looks like a flag
    return shlex.quote(shown) if os.name == "posix" else shown
