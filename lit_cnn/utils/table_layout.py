"""Lay out tables for narrow terminals: columns where they fit, else a block of lines for each row."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_LEAST = 8  # columns of a folded word


def fit_table(item: Any, screen: Console) -> Any:
    """A table as it is where it fits the screen, with folded words where that is enough, else a block for each row.

    Args:
        item: what is no table is returned as it is.
        screen: where it is going to be printed.
    """
    if not isinstance(item, Table):
        return item
    cells = [[_plain(cell) for cell in column.cells] for column in item.columns]
    heads = [_plain(column.header) for column in item.columns]
    full, least = 0, 0
    for column, head, rows in zip(item.columns, heads, cells, strict=True):
        widest = max(_widest(text) for text in (head, *rows))
        widest = min(widest, column.max_width or widest)
        full += widest
        least += widest if column.no_wrap or column.justify == "right" else min(widest, _LEAST)
    gaps = (len(heads) - 1) * (1 if item.box is None else 2)
    if full + 2 * gaps > screen.width:
        item.padding = (0, 1, 0, 0)  # one space between columns instead of two
    return item if least + gaps <= screen.width else _blocks(item, heads, cells)


def _blocks(table: Table, heads: list[str], cells: list[list[str]]) -> Group:
    """Each row as its first cell, and below it the others with the heads of their columns."""
    lines: list[RenderableType] = [_as_text(table.title)] if table.title else []
    for first, *others in zip_longest(*cells, fillvalue=""):
        lines.append(Text(first, overflow="fold"))
        named = [f"{head} {cell}".strip() for head, cell in zip(heads[1:], others, strict=True) if cell]
        if named:
            lines.append(Padding(Text(", ".join(named), overflow="fold"), (0, 0, 0, 2)))
    lines += [_as_text(table.caption)] if table.caption else []
    return Group(*lines)


def _plain(cell: Any) -> str:
    return _as_text(cell).plain


def _as_text(cell: Any) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))


def _widest(text: str) -> int:
    return max((cell_len(line) for line in text.split("\n")), default=0)
