"""Run folders: where a run lives, and how a word such as ``best`` finds a checkpoint."""

from __future__ import annotations

from pathlib import Path

from lit_cnn.errors import UserError

LOGS = "lightning_logs"


def run_folders(root: Path) -> list[Path]:
    """Run folders ``root/lightning_logs/version_N``, oldest first."""
    folders = [p for p in (root / LOGS).glob("version_*") if p.is_dir() and p.name[8:].isdigit()]
    return sorted(folders, key=lambda p: int(p.name[8:]))


def new_run_folder(root: Path) -> Path:
    """Make the next ``version_N``; two runs that start together get one each."""
    folders = run_folders(root)
    number = int(folders[-1].name[8:]) + 1 if folders else 0
    while True:
        folder = root / LOGS / f"version_{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UserError(f"cannot write the run folder {folder}: {error.strerror}") from error
        else:
            return folder


def new_subfolder(run: Path, name: str) -> Path:
    """A fresh folder ``run/name``, or ``run/name_2`` and so on: an earlier evaluation is never overwritten."""
    number = 1
    while True:
        folder = run / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UserError(f"cannot write results to {folder}: {error.strerror}") from error
        else:
            return folder


def run_folder_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in, ``None`` for one that was copied elsewhere."""
    folder = checkpoint.resolve().parent
    return folder.parent if folder.name == "checkpoints" else None


def find_checkpoint(wanted: str, root: Path, name: str) -> Path:
    """Turn what the user typed into a checkpoint file.

    Args:
        wanted: a file; a run folder; ``best`` or ``last`` of the newest run; ``""`` for the newest run's ``name``.
        root: folder that holds ``lightning_logs``.
        name: ``best`` or ``last``: which one of a run folder.

    Raises:
        UserError: when there is none, saying where it looked.
    """
    if wanted in ("", "best", "last") and not Path(wanted or ".").is_file():
        name = wanted or name
        for run in reversed(run_folders(root)):
            there = sorted((run / "checkpoints").glob("*.ckpt"))
            if run / "checkpoints" / f"{name}.ckpt" in there:
                return run / "checkpoints" / f"{name}.ckpt"
            if there:  # never an older run's instead
                raise UserError(f"the newest run has no {name}.ckpt; it has: {', '.join(map(str, there))}")
        raise UserError(
            f"no run under {root / LOGS} has a checkpoints/{name}.ckpt: train first with "
            "lit-cnn fit --config FILE, or give the checkpoint's path"
        )
    path = Path(wanted)
    if path.is_dir():
        for candidate in (path / "checkpoints" / f"{name}.ckpt", path / f"{name}.ckpt"):
            if candidate.is_file():
                return candidate
        others = sorted(str(p) for p in path.rglob("*.ckpt"))
        hint = f"; it has: {', '.join(others)}" if others else ""
        raise UserError(f"{path} holds no checkpoints/{name}.ckpt{hint}")
    if not path.is_file():
        others = sorted(str(p) for p in path.parent.glob("*.ckpt")) if path.parent.is_dir() else []
        others = others or [str(run / "checkpoints") for run in run_folders(root)[-3:]]
        hint = f" there are: {', '.join(others)}" if others else " train first with lit-cnn fit --config FILE"
        raise UserError(f"no checkpoint at {path}:{hint}")
    return path


def shown(path: str | Path) -> str:
    """A path as a person would type it from here."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
