"""metrics.csv: read the table of a run's metrics."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

Row = dict[str, str]


def read_metrics(path: str | os.PathLike[str]) -> tuple[list[str], list[Row]]:
    """Read a metrics.csv: its column names and its rows, each a dict of the cells that are not empty, as text.

    Incomplete rows of a crash (a last line without its end, too few cells, no step) are skipped. An empty file gives
    the two first columns and no row.
    """
    text = Path(path).read_bytes().decode(errors="replace")
    table = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
    columns = table[0] if table else []
    if "step" not in columns:
        return ["epoch", "step"], []
    complete = [line for line in table[1:] if len(line) == len(columns)]
    rows = [{c: v for c, v in zip(columns, line, strict=True) if v} for line in complete]
    return columns, [row for row in rows if row.get("step", "").isdigit()]


def shortest_repr(value: float) -> str:
    """Write ``value`` with the fewest digits that give it back; most are float32, whose float64 digits are noise."""
    import numpy as np  # only here: listing runs reads these files and need not wait for numpy

    single = np.float32(value) if abs(value) < 3e38 else np.float64(value)  # larger ones overflow float32
    return str(single) if float(single) == value else repr(value)
