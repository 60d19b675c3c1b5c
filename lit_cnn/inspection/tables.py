"""Number formats and tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table


def table(title: str | None, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns in ``numbers`` are aligned to the right."""
    out = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        right = column in numbers
        # numbers must not be wrapped; other columns may be
        out.add_column(column, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return out


def format_int(number: int | None) -> str:
    """``61,100,840``, or a dash for an unknown number."""
    return "-" if number is None else f"{number:,}"


def format_si(number: int | None) -> str:
    """A number with an SI prefix and four digits: ``1.814 G``; a dash for an unknown one."""
    if number is None:
        return "-"
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.4g} {unit}"
    return str(number)


def sides(pair: tuple[float, float]) -> str:
    """``7``, or ``3x5`` for a pair of different numbers."""
    return f"{pair[0]:g}" if pair[0] == pair[1] else f"{pair[0]:g}x{pair[1]:g}"


def plain_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: tuple[str, ...] = ()) -> Iterator[str]:
    """Lines of a long table in plain text, each row on one line whatever the terminal's width."""
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()
