"""CSV logger: all metrics of a run in metrics.csv, which survives crashes and is continued on resume."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lit_cnn.results.metrics_csv import Row, read_metrics, shortest_repr
from lit_cnn.utils.files import atomic_write


class MetricsCSV(Logger):
    """Writes ``run_dir/metrics.csv``: columns ``epoch``, ``step``, then one per metric name in order of appearance.

    Lightning's CSVLogger deletes the file of an earlier start; this one continues it. ``step`` is Lightning's: the
    0-based index of the optimizer step, so the last step of an epoch carries its train and its validation metrics.
    There is one row per (epoch, step); a value logged again for the same row replaces the old one.

    Args:
        run_dir: The run's folder; made when the first row is saved.
    """

    FILE_NAME = "metrics.csv"

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = Path(run_dir) / self.FILE_NAME
        self._columns = ["epoch", "step"]
        self._rows: list[Row] = []
        self._row_of_step: dict[int, int] = {}
        self._loaded = False
        self._changed = False
        # The file's rows before the last one stay as they are, so saving writes only from the last row on. A new
        # column, or a late value for an older row, rewrites the file.
        self._rewrite = False
        self._first_open = 0  # rows[:_first_open] are in the file for good
        self._open_at = 0  # byte position in the file where they end

    @property
    def name(self) -> str:
        """Empty, so that Lightning's ``save_dir/name/version`` is the run folder itself."""
        return ""

    @property
    def version(self) -> str:
        """Empty, see ``name``."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self._path.parent)

    @property
    def root_dir(self) -> str:
        """The run folder."""
        return self.save_dir

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return self.save_dir

    @property
    def path(self) -> Path:
        """The table's file; it exists once something was saved."""
        return self._path

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run's config.yaml and the checkpoint hold the settings."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Put ``metrics`` (name → number) in the row of ``step``; ``metrics["epoch"]`` may name its epoch.

        Without ``step`` they go to the row last written. Nothing reaches the file before ``save``.
        """
        self._load()
        if step is None:
            step = int(self._rows[-1]["step"]) if self._rows else 0
        epoch = str(int(metrics["epoch"])) if "epoch" in metrics else ""
        row = self._row_for(int(step), epoch)
        for name, value in metrics.items():
            if name in ("epoch", "step"):
                continue
            if name not in self._columns:
                self._columns.append(name)
                self._rewrite = True
            row[name] = shortest_repr(float(value))
        self._changed = True

    def resume_at(self, step: int, within_epoch: bool = False) -> Row:
        """Drop what a run resumed after ``step`` optimizer steps is going to write again.

        Rows 0 … ``step`` - 1 are kept as they are in the file. To be called once ``trainer.global_step`` is restored
        and before anything is logged.

        Args:
            step: optimizer steps done.
            within_epoch: the run resumes inside an epoch. If that epoch was truncated, its ``train/`` numbers were of a
                part of it: they are forgotten too.

        Returns:
            The row of the last step done, with its epoch, as it is now; empty where no metric is left in it.
        """
        self._load()
        kept = [dict(row) for row in self._rows if int(row["step"]) < step]
        last = kept[-1] if kept and int(kept[-1]["step"]) == step - 1 else {}
        if within_epoch and last:
            for name in [name for name in last if name.startswith("train/")]:
                del last[name]
            if last.keys() <= {"epoch", "step"}:
                last = {}
                kept.pop()
        if kept != self._rows:
            self._set_rows(kept)
            self._rewrite = self._changed = True
            self.save()
        return {name: value for name, value in last.items() if name != "step"}

    @rank_zero_only
    def save(self) -> None:
        """Bring the file up to date. Cheap: only rows from the last one on are written, except for a new column."""
        if not self._changed:
            return
        if self._rewrite or not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            header = {column: column for column in self._columns}
            self._first_open, self._open_at = 0, len(self._encode([header]))
            with atomic_write(self._path, "wb") as file:
                file.write(self._encode([header, *self._rows]))
        else:
            with self._path.open("r+b", buffering=0) as file:
                file.seek(self._open_at)
                file.write(self._encode(self._rows[self._first_open :]))  # one write, so a kill leaves complete rows
                file.truncate()
        # The last row stays open: the validation metrics of its step may be still to come.
        if self._rows:
            self._open_at += len(self._encode(self._rows[self._first_open : -1]))
            self._first_open = len(self._rows) - 1
        self._changed = self._rewrite = False

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Save what is left; ``status`` does not matter."""
        self.save()

    def _row_for(self, step: int, epoch: str) -> Row:
        """Return the row of (``epoch``, ``step``), new if need be. Without an epoch (LearningRateMonitor) any fits."""
        at = self._row_of_step.get(step)
        if at is not None and (not epoch or self._rows[at].get("epoch", "") in ("", epoch)):
            self._rewrite |= at < self._first_open
            row = self._rows[at]
        else:
            row = {"step": str(step)}
            self._row_of_step[step] = len(self._rows)
            self._rows.append(row)
        if epoch:
            row["epoch"] = epoch
        return row

    def _load(self) -> None:
        """Read the file of an earlier start, once. What a crash left half-written is dropped."""
        if self._loaded:
            return
        self._loaded = True
        if not self._path.exists():
            return
        self._columns, rows = read_metrics(self._path)
        self._set_rows(rows)
        self._rewrite = True  # also ends a line that was cut off

    def _set_rows(self, rows: list[Row]) -> None:
        self._rows = rows
        self._row_of_step = {int(row["step"]): at for at, row in enumerate(rows)}

    def _encode(self, rows: list[Row]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([row.get(c, "") for c in self._columns] for row in rows)
        return text.getvalue().encode()
