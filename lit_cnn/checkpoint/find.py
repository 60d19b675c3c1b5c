"""Find the checkpoint to resume from: the newest valid one of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from lit_cnn.checkpoint.record import CheckpointRecord, read_progress, read_record
from lit_cnn.errors import DamagedCheckpointError, UserError


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
