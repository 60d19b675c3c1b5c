"""Writes the tables in ``lit_cnn/inspection/model_figures/`` for the measuring scripts."""

from __future__ import annotations

import csv
import io

from lit_cnn.inspection import model_table
from lit_cnn.inspection.figures import Figures


def table_text(package: str, version: str, figures: dict[str, Figures], script: str) -> str:
    """Text of a table.

    Args:
        package: ``lit_cnn``, ``torchvision`` or ``timm``.
        version: of the zoo; ``""`` for lit_cnn.
        figures: by name with the zoo's prefix.
        script: that measured them.
    """
    own = package == model_table.OWN
    file = io.StringIO()
    print(f"# {' '.join(filter(None, (package, version)))}: written by {script}, not to be edited", file=file)
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(model_table.OWN_COLUMNS if own else model_table.COLUMNS)
    for name, f in figures.items():
        image = "x".join(str(n) for n in f.image or ())
        row = [name if own else name.partition("/")[2], f.parameters, f.macs, image, f.classes, f.smallest, f.paper]
        row += [f.weights, f.top1]
        rows.writerow([*row, f.year, f.reference, f.source] if own else row)
    return file.getvalue()


def write_table(package: str, version: str, figures: dict[str, Figures], script: str) -> None:
    """Write the table of a package."""
    text = table_text(package, version, figures, script)
    model_table.table_path(package).write_text(text, encoding="utf-8", newline="\n")
