"""bad_images.csv: the images that a run skipped because they cannot be read."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from lit_cnn.utils.files import atomic_write

NAME = "bad_images.csv"


def write_bad_images(folder: Path, found: Mapping[str, str]) -> None:
    """Write ``folder/bad_images.csv`` with the columns path and reason."""
    with atomic_write(folder / NAME, newline="", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "reason"])
        writer.writerows(found.items())
