"""Numbers and tables for the terminal."""

from __future__ import annotations

from rich.table import Table


def table(title: str | None, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns in ``numbers`` are aligned to the right."""
    out = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        right = column in numbers
        # Numbers and names must not be broken, whatever else has to be.
        whole = right or column == columns[0]
        out.add_column(column, justify="right" if right else "left", no_wrap=whole, overflow="fold")
    return out


def count(number: int | None) -> str:
    """``61,100,840``, or a dash for an unknown number."""
    return "-" if number is None else f"{number:,}"


def giga(number: int | None) -> str:
    """A number of operations in G, M or k with four digits: ``1.814 G``."""
    if number is None:
        return "-"
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.4g} {unit}"
    return str(number)
