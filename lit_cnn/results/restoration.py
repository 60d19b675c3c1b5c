"""Results of an evaluation of image to image: scores of each image, the table, and pictures. No torch.

``triples.zip`` lies beside ``scores.csv``: ``input/7.jpg`` is what the network was given for its row 7, counted from 0,
``output/7.jpg`` what it made of it, ``target/7.jpg`` what it should be.
"""

from __future__ import annotations

import csv
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from lit_cnn.results.gallery import to_image, to_jpeg
from lit_cnn.utils.files import atomic_write

SCORES, METRICS, TRIPLES = "scores.csv", "metrics.json", "triples.zip"
COLUMNS = ("psnr", "ssim", "psnr_input", "ssim_input")
SIDES = ("input", "output", "target")
MOST = 24  # triples of an evaluation
SIDE = 640  # pixels of a picture's longer side
EXTREMES = 3  # images in the table

Triple = tuple[bytes, bytes, bytes]  # JPEGs of input, output and target


class Row(NamedTuple):
    """Scores of an image."""

    file: str
    psnr: float
    ssim: float
    psnr_input: float
    ssim_input: float

    @property
    def gain(self) -> float:
        """PSNR over that of the input, dB."""
        return self.psnr - self.psnr_input


def rows_of(files: Sequence[str], found: Mapping[str, np.ndarray]) -> list[Row]:
    """Scores of N images.

    Args:
        files: N names.
        found: float (N,) by the names of ``COLUMNS``.
    """
    return [Row(file, *map(float, each)) for file, *each in zip(files, *(found[c] for c in COLUMNS), strict=True)]


def triple(images: Sequence[np.ndarray]) -> Triple:
    """JPEGs of input, output and target, each float (C, H, W) in [0, 1]."""
    first, second, third = (to_jpeg(to_image(to_bytes(image)), SIDE) for image in images)
    return first, second, third


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Pixels uint8 (C, H, W) of values in [0, 1]."""
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def chosen(count: int) -> list[int]:
    """Places of the images that are shown, evenly spaced."""
    return sorted(set(np.linspace(0, count - 1, min(count, MOST)).round().astype(int).tolist())) if count else []


def write_scores(
    folder: Path, rows: Sequence[Row], scalars: Mapping[str, float], skipped: int, triples: Mapping[int, Triple]
) -> None:
    """Write scores.csv, metrics.json and triples.zip.

    Args:
        folder: exists.
        rows: of the images.
        scalars: metrics by name.
        skipped: number of pairs that could not be used.
        triples: pictures by row.
    """
    with atomic_write(folder / SCORES, newline="", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", *COLUMNS])
        writer.writerows([row.file, *(f"{value:.4f}" for value in row[1:])] for row in rows)
    content = {name: value if math.isfinite(value) else None for name, value in sorted(scalars.items())}
    known = {"images": len(rows), "skipped_images": skipped, "psnr_gain": float(np.mean([row.gain for row in rows]))}
    with atomic_write(folder / METRICS) as file:
        file.write(json.dumps(content | known, indent=2) + "\n")
    with atomic_write(folder / TRIPLES, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for row, pictures in sorted(triples.items()):
            for side, picture in zip(SIDES, pictures, strict=True):
                archive.writestr(f"{side}/{row}.jpg", picture)


def read_scores(folder: Path) -> list[Row]:
    """Scores of an evaluation; empty where the folder has none, or they are damaged."""
    try:
        with (folder / SCORES).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            heading, *lines = csv.reader(file)
        if heading != ["file", *COLUMNS]:
            return []
        return [Row(name, *map(float, values)) for name, *values in lines]
    except (OSError, ValueError, TypeError):
        return []


def read_triples(folder: Path) -> dict[int, Triple]:
    """Pictures of an evaluation by row; empty where there are none."""
    found = {}
    try:
        with zipfile.ZipFile(folder / TRIPLES) as archive:
            names = archive.namelist()
            for row in sorted(int(Path(name).stem) for name in names if name.startswith(f"{SIDES[0]}/")):
                first, second, third = (archive.read(f"{side}/{row}.jpg") for side in SIDES)
                found[row] = first, second, third
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return {}
    return found


def scores_table(split: str, rows: Sequence[Row], skipped: int) -> Table:
    """The mean scores beside those of the input, then the images with the largest and the smallest gain."""
    left_out = f", {skipped:,} skipped" if skipped else ""
    table = Table(
        title=f"{split}: {len(rows):,} images{left_out}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE,
        show_edge=False,
    )
    table.add_column("")
    for name in ("output", "input", "gain"):
        table.add_column(name, justify="right")
    means = [float(np.mean([row[i] for row in rows])) for i in range(1, 5)]
    table.add_row("PSNR, dB", *_cells(means[0], means[2], 2))
    table.add_row("SSIM", *_cells(means[1], means[3], 4))
    order = sorted(rows, key=lambda row: -row.gain)
    shown = order if len(rows) <= 2 * EXTREMES else [*order[:EXTREMES], *order[-EXTREMES:]]
    for row in shown:
        table.add_row(f"PSNR of {row.file}".replace("[", "\\["), *_cells(row.psnr, row.psnr_input, 2))
    return table


def _cells(output: float, given: float, digits: int) -> list[str]:
    return [f"{output:.{digits}f}", f"{given:.{digits}f}", f"{output - given:+.{digits}f}"]
