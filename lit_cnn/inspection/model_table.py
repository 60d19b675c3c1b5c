"""Stored figures of torchvision's and timm's models, so that listing them imports neither, nor torch.

``model_figures/ZOO.csv`` has a line per model of one version of the zoo, ``papers.csv`` the titles of their papers.
``measure_zoos.py`` writes them.
"""

from __future__ import annotations

import csv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from lit_cnn.inspection.figures import Figures

ZOOS = ("torchvision", "timm")
COLUMNS = ("name", "parameters", "macs", "image", "classes", "smallest", "paper")
FOLDER = Path(__file__).with_name("model_figures")
PAPERS = FOLDER / "papers.csv"


class Stored(NamedTuple):
    """What is stored of a zoo.

    Attributes:
        version: of the zoo that was counted.
        figures: by name with the zoo's prefix; ``paper`` is an arXiv number.
    """

    version: str
    figures: dict[str, Figures]


def path(zoo: str) -> Path:
    return FOLDER / f"{zoo}.csv"


def stored(zoo: str) -> Stored:
    """Read the figures of ``torchvision`` or ``timm``."""
    with path(zoo).open(newline="", encoding="utf-8") as file:
        number = file.readline().split()[2].rstrip(":")
        return Stored(number, {f"{zoo}/{row['name']}": _figures(row) for row in csv.DictReader(file)})


def _figures(row: dict[str, str]) -> Figures:
    parameters, macs, classes, smallest = (
        int(row[column]) if row[column] else None for column in ("parameters", "macs", "classes", "smallest")
    )
    image = tuple(int(side) for side in row["image"].split("x")) if row["image"] else None
    paper = row["paper"]
    # An arXiv number begins with the year and month of the paper's first version.
    year = 2000 + int(paper[:2]) if paper else None
    return Figures(parameters, macs, image, classes, smallest, year, paper)  # type: ignore[arg-type]  # three sides


def titles() -> dict[str, str]:
    """Titles of papers by arXiv number."""
    with PAPERS.open(newline="", encoding="utf-8") as file:
        return {row["arxiv"]: row["title"] for row in csv.DictReader(file)}


def public(number: str) -> str:
    """Version number without the build that may follow: ``0.29.1+cpu`` is ``0.29.1``."""
    return number.partition("+")[0]


def installed(zoo: str) -> str | None:
    """Version of the zoo on this machine, ``None`` if it is not there."""
    try:
        return public(version(zoo))
    except PackageNotFoundError:
        return None
