"""Tables and run folders of complete commands."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

QUIET = "--trainer.enable_progress_bar=false"


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by column."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def copy_of(run: Path, folder: Path) -> Path:
    """A run folder that may be changed."""
    return Path(shutil.copytree(run, folder / "lightning_logs" / "version_0"))


def run_command(workdir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the program in a process of its own: ranks start as processes of the same command line."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "LIT_CNN_CACHE": str(workdir / "cache")}
    command = [sys.executable, "-m", "lit_cnn", *words]
    return subprocess.run(command, cwd=workdir, env=env, capture_output=True, text=True, check=True, timeout=300)
