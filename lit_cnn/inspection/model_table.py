"""Stored figures of the models of lit_cnn, torchvision and timm, so that listing them imports none of these, nor torch.

``model_figures/`` has ``lit_cnn.csv``, ``torchvision.csv`` and ``timm.csv`` with a line per model, and ``papers.csv``
with the titles of the zoos' papers. ``tools/measure_models.py`` and ``tools/measure_zoos.py`` write them.
"""

from __future__ import annotations

import csv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from lit_cnn.inspection.figures import Figures

OWN = "lit_cnn"
ZOOS = ("torchvision", "timm")
COLUMNS = ("name", "parameters", "macs", "image", "classes", "smallest", "paper", "weights", "top1")
OWN_COLUMNS = (*COLUMNS, "year", "reference", "source")  # the zoos' years are those of their papers' arXiv numbers
FOLDER = Path(__file__).with_name("model_figures")
PAPERS = FOLDER / "papers.csv"


class StoredFigures(NamedTuple):
    """The content of one table.

    Attributes:
        version: of the zoo that was counted, ``""`` for lit_cnn.
        figures: by name with the zoo's prefix; ``paper`` is an arXiv number for zoos, a citation for lit_cnn.
    """

    version: str
    figures: dict[str, Figures]


def table_path(package: str) -> Path:
    """Path of the table of ``lit_cnn``, ``torchvision`` or ``timm``."""
    return FOLDER / f"{package}.csv"


def read_figures(package: str) -> StoredFigures:
    """Read the table of ``lit_cnn``, ``torchvision`` or ``timm``."""
    prefix = "" if package == OWN else f"{package}/"
    with table_path(package).open(newline="", encoding="utf-8") as file:
        heading = file.readline().partition(":")[0].split()  # "# timm 1.0.31: written by …"
        number = heading[2] if len(heading) > 2 else ""
        return StoredFigures(number, {prefix + row["name"]: _figures(row) for row in csv.DictReader(file)})


def _figures(row: dict[str, str]) -> Figures:
    parameters, macs, classes, smallest, year, reference = (
        int(row[column]) if row.get(column) else None
        for column in ("parameters", "macs", "classes", "smallest", "year", "reference")
    )
    image = tuple(int(side) for side in row["image"].split("x")) if row["image"] else None
    paper = row["paper"]
    if "year" not in row and paper:
        year = 2000 + int(paper[:2])  # an arXiv number begins with the year and month of the paper's first version
    top1 = float(row["top1"]) if row.get("top1") else None
    return Figures(
        parameters, macs, image, classes, smallest, year, paper, reference, row.get("source", ""),  # type: ignore[arg-type]  # three sides
        row.get("weights", ""), top1,
    )  # fmt: skip


def paper_titles() -> dict[str, str]:
    """Titles of papers by arXiv number."""
    with PAPERS.open(newline="", encoding="utf-8") as file:
        return {row["arxiv"]: row["title"] for row in csv.DictReader(file)}


def public_version(number: str) -> str:
    """Version number without the local part: ``0.29.1+cpu`` is ``0.29.1``."""
    return number.partition("+")[0]


def installed_version(zoo: str) -> str | None:
    """Version of the zoo on this machine, ``None`` if it is not installed."""
    try:
        return public_version(version(zoo))
    except PackageNotFoundError:
        return None
