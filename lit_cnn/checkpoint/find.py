"""Find a checkpoint by a word such as ``best`` or a run's name, and the newest valid one of a run to resume from."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from lit_cnn.checkpoint.record import CheckpointRecord, read_progress, read_record
from lit_cnn.errors import DamagedCheckpointError, UserError, nearest
from lit_cnn.run_folder import LOGS, checkpoints_in, holds_training, newest_run, run_folders, subfolders
from lit_cnn.utils.files import expand_home


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
    wanted = expand_home(wanted)
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
    found = [run for run in sorted(subfolders(logs)) if run.name.startswith(word.name) and holds_training(run)]
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


def newest_valid_first(folder: Path) -> list[Path]:
    """The checkpoints of a folder in the order to try them: most steps first, inexact ones after all exact ones.

    Unreadable ones, whose steps are unknown, come first: only :func:`read_newest` finds out that they are damaged.
    """
    ranked = []
    for path in folder.glob("*.ckpt"):
        step, exact = float("inf"), True
        with contextlib.suppress(UserError):  # unreadable: its steps stay unknown
            step, exact = read_progress(path)
        # of two with equal steps, last.ckpt was written later
        name = ("last", "previous").index(path.stem) if path.stem in ("last", "previous") else 2
        ranked.append((not exact, -step, name, path))
    return [path for *_, path in sorted(ranked)]


def read_newest(candidates: Sequence[Path]) -> tuple[CheckpointRecord, list[str]]:
    """The record of the first candidate that is not damaged, and one line for each damaged one before it.

    Args:
        candidates: checkpoints in the order to try them, at least one.

    Raises:
        UserError: all are damaged, or one is no checkpoint of lit-cnn's.
    """
    damaged: list[str] = []
    for candidate in candidates:
        try:
            return read_record(candidate), damaged
        except DamagedCheckpointError as error:
            damaged.append(str(error))
    others = "; every other checkpoint beside it is damaged too" if len(damaged) > 1 else ""
    raise UserError(
        f"{damaged[0]}{others}: start again with lit-cnn fit `config=FILE` (a run folder has a config.yaml)"
    )
