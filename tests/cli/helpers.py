"""Tables and run folders of complete commands."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

QUIET = "--trainer.enable_progress_bar=false"


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by column."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def copy_of(run: Path, folder: Path) -> Path:
    """A run folder that may be changed."""
    return Path(shutil.copytree(run, folder / "lightning_logs" / "version_0"))
