"""Run folders: make, name, order and lock them."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lit_cnn.errors import UserError
from lit_cnn.results.run_state import NAME as STATE_FILE
from lit_cnn.results.run_state import STARTING, read_state, write_state
from lit_cnn.utils.files import file_lock

LOGS = "lightning_logs"
_NUMBERED = re.compile(r"version_(\d+)", re.ASCII)


def run_folders(root: Path) -> list[Path]:
    """Run folders in ``root/lightning_logs``, numbered and named ones, in the order in which they were started."""
    return sorted((run for run in subfolders(root / LOGS) if _is_run(run)), key=_order)


def subfolders(logs: Path) -> list[Path]:
    """Folders in lightning_logs, of runs or not; none where it cannot be read."""
    try:
        return [path for path in logs.iterdir() if path.is_dir()]
    except OSError:
        return []


def _is_run(folder: Path) -> bool:
    return _number(folder) >= 0 or holds_training(folder)


def holds_training(folder: Path) -> bool:
    """Whether a run was trained in a folder; others in lightning_logs hold evaluations or plots only."""
    return (folder / "config.yaml").is_file() or (folder / STATE_FILE).is_file() or bool(checkpoints_in(folder))


def has_trained(run: Path) -> bool:
    """Whether a run has left a checkpoint or metrics."""
    return bool(checkpoints_in(run)) or (run / "metrics.csv").is_file()


def _number(folder: Path) -> int:
    found = _NUMBERED.fullmatch(folder.name)
    return int(found[1]) if found else -1


def _order(run: Path) -> tuple[float, bool, int, str]:
    """Sorts by the start, which copying a folder does not change.

    Runs of versions that wrote no run.json are older, and in the order of their numbers. A copy comes before the
    original, whose name is in run.json.
    """
    state = read_state(run)
    started = state.get("started")
    return started if isinstance(started, (int, float)) else 0.0, state.get("name") == run.name, _number(run), run.name


_NEW: dict[Path, list[Path]] = {}  # run folders that this process made, with the folders above made for them


def new_run_folder(root: Path, name: str | None = None) -> Path:
    """Make the next ``version_N``, or ``name`` (``name_2`` and so on where it exists).

    Two runs that start together get one each.
    """
    logs = root / LOGS
    first = max((_number(run) for run in subfolders(logs)), default=-1) + 1
    names = (f"version_{number}" for number in itertools.count(first)) if name is None else _numbered_names(name)
    missing = [parent for parent in (logs, *logs.parents) if not parent.exists()]
    run = _make_first_free((logs / wanted for wanted in names), "the run folder")
    _NEW[run.resolve()] = missing
    return run


def is_new(run: Path) -> bool:
    """Whether this process has made a run folder and not yet released it."""
    return run.resolve() in _NEW


def write_start(run: Path) -> None:
    """Write to run.json that a training run starts now.

    Raises:
        OSError: it cannot be written.
    """
    newest = max(_order(other)[0] for other in [run, *run_folders(run.parent.parent)])
    started = max(time.time(), newest + 0.001)  # later than the others, also where the clock was set back
    write_state(run, name=run.name, started=round(started, 3), state=STARTING)


def _numbered_names(name: str) -> Iterator[str]:
    return itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))


def is_named(run: Path, name: str) -> bool:
    """Whether a run folder is called ``name``, ``name_2`` and so on."""
    return re.fullmatch(rf"{re.escape(name)}(_\d+)?", run.name) is not None


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
_PATIENCE = 0.2  # seconds to wait for a lock, which is_locked in another process holds for an instant


def lock(run: Path) -> None:
    """Lock a run folder for this process, until :func:`unlock` or its end.

    Raises:
        UserError: when another process is training there, or the folder cannot be written.
    """
    if run.resolve() in _LOCKS:
        return
    held, owner = file_lock(run / ".lock"), run / ".lock_owner"
    try:
        held.acquire(timeout=_PATIENCE)
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    except Timeout:
        who = owner.read_text(encoding="utf-8") if owner.is_file() else "unknown"
        raise UserError(f"{run} is being trained by another process ({who}): wait for it, or stop it") from None
    except NotImplementedError:  # a filesystem without locks
        return
    except OSError as error:
        raise UserError(f"cannot write the run folder {run}: {error.strerror}") from error
    _LOCKS[run.resolve()] = held


def unlock(run: Path) -> None:
    """Release a run folder that this process has locked; from now on it stays."""
    _NEW.pop(run.resolve(), None)
    held = _LOCKS.pop(run.resolve(), None)
    if held is not None:
        with contextlib.suppress(OSError):  # a leftover does no harm
            (run / ".lock_owner").unlink(missing_ok=True)
        held.release()


def is_locked(run: Path) -> bool | None:
    """Whether a process is training in a run folder; ``None`` where that cannot be found out."""
    if run.resolve() in _LOCKS:
        return True
    if not (run / ".lock").is_file():
        return False
    try:
        with file_lock(run / ".lock").acquire(timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return None


def discard(run: Path) -> None:
    """Delete a folder that this process made for a run that did not start, and the folders above made for it."""
    missing = _NEW.get(run.resolve())
    if missing is None:
        return
    unlock(run)
    shutil.rmtree(run, ignore_errors=True)
    for parent in missing:
        with contextlib.suppress(OSError):  # another run is in it
            parent.rmdir()


def new_subfolder(run: Path, name: str) -> Path:
    """A fresh folder ``run/name``, or ``run/name_2`` and so on: an earlier evaluation is never overwritten."""
    return _make_first_free((run / numbered for numbered in _numbered_names(name)), "results to")


def run_folder_of(checkpoint: Path) -> Path | None:
    """The run folder that holds a checkpoint, ``None`` for one that was copied elsewhere."""
    folder = checkpoint.resolve().parent
    return folder.parent if folder.name == "checkpoints" else None


def newest_run(root: Path, name: str | None = None) -> Path | None:
    """The newest training run's folder, of those called ``name`` or ``name_2`` and so on where a name is given."""
    runs = [run for run in run_folders(root) if (run / "config.yaml").is_file() or checkpoints_in(run)]
    runs = [run for run in runs if name is None or is_named(run, name)]
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
