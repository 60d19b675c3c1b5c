"""Run folders: make, name and lock them, and find a checkpoint by a word such as ``best`` or a run's name."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lit_cnn.errors import UserError, nearest
from lit_cnn.results.run_state import NAME as STATE_FILE
from lit_cnn.results.run_state import STARTING, read_state, write_state
from lit_cnn.utils.files import file_lock

LOGS = "lightning_logs"
_NUMBERED = re.compile(r"version_(\d+)", re.ASCII)


def run_folders(root: Path) -> list[Path]:
    """Run folders in ``root/lightning_logs``, numbered and named ones, in the order in which they were started."""
    return sorted((run for run in _subfolders(root / LOGS) if _is_run(run)), key=_order)


def _subfolders(logs: Path) -> list[Path]:
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
    first = max((_number(run) for run in _subfolders(logs)), default=-1) + 1
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
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.parent.is_dir():
                raise UserError(f"cannot write {what} {folder}: {folder.parent} is not a folder") from None
            continue
        except OSError as error:
            raise UserError(f"cannot write {what} {folder}: {error.strerror}") from error
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
        with contextlib.suppress(OSError):
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


def find_checkpoint(wanted: str, root: Path, name: str, resume: bool = False) -> Path:
    """Resolve what the user typed to a checkpoint file to evaluate or resume.

    Args:
        wanted: a file; a run folder, a run's name or the beginning of one name alone, each also with ``/best`` or
            ``/last``; ``best`` or ``last`` of the newest run; ``""`` for the newest run's ``name``.
        root: folder that holds ``lightning_logs``.
        name: ``best`` or ``last``: which one of a run folder.
        resume: accept a run folder that has other checkpoints only: the result may then not exist.

    Raises:
        UserError: when there is none, saying where it looked.
    """
    path = Path(wanted)
    try:
        if path.is_file():
            return path
    except OSError as error:  # such as a name that is too long
        raise UserError(f"no checkpoint at {wanted}: {error.strerror}") from error
    if wanted == "" or str(path) in ("best", "last"):
        return _of_newest(root, path.name or name, resume)
    if (path / LOGS).is_dir():  # a root, as `trainer.default_root_dir` names one
        return _of_newest(path, name, resume)
    if path.name == LOGS and path.is_dir():
        return _of_newest(path.parent, name, resume)
    if path.is_dir() and any(path.rglob("*.ckpt")):
        return _in_folder(path, name, resume)
    if (run := find_run(path, root)) is not None:
        return _in_folder(run, name, resume)
    if path.is_dir():
        return _in_folder(path, name, resume)
    # version_0/last, lightning_logs/version_0/best.ckpt, experiments/best
    parent, stem = path.parent, path.name.removesuffix(".ckpt")
    if parent != Path() and stem in ("best", "last", "previous"):
        if (parent / LOGS).is_dir():
            return _of_newest(parent, stem, resume)
        parent = parent.parent if parent.name == "checkpoints" else parent
        run = parent if parent.is_dir() else find_run(parent, root)
        if run is not None:
            return _in_folder(run, stem, resume=False)
    raise _not_found(path, root)


def _of_newest(root: Path, name: str, resume: bool) -> Path:
    """``best`` or ``last`` of the newest run, never an older run's instead."""
    run = newest_run(root)
    if run is None:
        raise UserError(
            f"no run under {root / LOGS} has a checkpoints/{name}.ckpt: train first with "
            "lit-cnn fit `config=FILE`, or give the checkpoint's path"
        )
    there = checkpoints_in(run)
    if run / "checkpoints" / f"{name}.ckpt" in there or (there and resume):
        return run / "checkpoints" / f"{name}.ckpt"
    if there:
        raise UserError(f"the newest run has no {name}.ckpt; it has: {', '.join(map(str, there))}")
    raise UserError(
        f"the newest run, {run}, stopped before its first checkpoint: restart it with "
        f"lit-cnn fit `config={run / 'config.yaml'}`, or name an older run's folder"
    )


def _in_folder(folder: Path, name: str, resume: bool) -> Path:
    """``best`` or ``last`` in a run folder, or in its folder of checkpoints."""
    for candidate in (folder / "checkpoints" / f"{name}.ckpt", folder / f"{name}.ckpt"):
        if candidate.is_file():
            return candidate
    if resume and checkpoints_in(folder):
        return folder / "checkpoints" / f"{name}.ckpt"
    others = sorted(str(p) for p in folder.rglob("*.ckpt"))
    hint = f"; it has: {', '.join(others)}" if others else ""
    raise UserError(f"{folder} holds no checkpoints/{name}.ckpt{hint}")


def find_run(word: Path, root: Path) -> Path | None:
    """The run of a name, or of the only name that begins so; a path looks in its own folder.

    Raises:
        UserError: several names begin so.
    """
    if word.name in ("", ".."):
        return None
    logs = root / LOGS if word.parent == Path() else word.parent
    if (logs / word.name).is_dir():
        return logs / word.name
    found = [run for run in sorted(_subfolders(logs)) if run.name.startswith(word.name) and holds_training(run)]
    if len(found) > 1:
        names = [run.name for run in found]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise UserError(f"{str(word)!r} could be any of {', '.join(names[:5])}{more}: give more of the name")
    return found[0] if found else None


def _not_found(path: Path, root: Path) -> UserError:
    names = [run.name for run in run_folders(root) if holds_training(run)]
    if path.parent == Path() and not path.suffix and names:
        hint = nearest(path.name, names) or ":"
        return UserError(
            f"no run, folder or checkpoint {str(path)!r}{hint} the newest runs are {', '.join(names[-3:])}"
        )
    others = sorted(str(p) for p in path.parent.glob("*.ckpt")) if path.parent.is_dir() else []
    others = others or [str(root / LOGS / name / "checkpoints") for name in names[-3:]]
    hint = f" there are: {', '.join(others)}" if others else " train first with lit-cnn fit `config=FILE`"
    return UserError(f"no checkpoint at {path}:{hint}")


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
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
