"""Labels of a list: one class an image, or several (multi-label), in one column or one column a class (one-hot)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from lit_cnn.data.lists.columns import Columns, number
from lit_cnn.data.lists.table import JOINED, Table
from lit_cnn.errors import UserError

SEPARATORS = ("|", ";")  # of labels, which hardly occur in names
WORDS = (",", " ")  # of labels where the column's name says that there are several
NAMED = {"space": " ", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|", "tab": "\t"}  # hard to type in a shell
_PLURAL = ("labels", "tags", "classes")


@dataclass
class Labels:
    """Labels of all rows.

    Attributes:
        rows: the classes of each row, or None.
        classes: in their order.
        multilabel: whether an image has any number of classes.
        notes: lines for the user.
    """

    rows: list[tuple[str, ...] | None]
    classes: list[str]
    multilabel: bool = False
    notes: list[str] = field(default_factory=list)


def read_labels(
    table: Table,
    columns: Columns,
    delimiter: str | None = None,
    multilabel: bool | None = None,
    known: Collection[str] = (),
) -> Labels:
    """Labels of a list.

    Args:
        table: the list.
        columns: which column is what.
        delimiter: between the labels of a cell; null: found by itself.
        multilabel: whether an image has several labels; null: as the list shows.
        known: classes of a trained model, by which the delimiter is found.

    Raises:
        UserError: a column of a class holds other values than 0 and 1, or several 1 although an image has one label.
    """
    if delimiter is not None and multilabel is False:
        raise UserError("`data.label_delimiter` separates several labels, and `data.multilabel=false`: give one")
    if columns.is_one_hot:
        return _one_hot(table, columns.labels, multilabel)
    if not columns.labels:
        return Labels([None] * len(table), [], bool(multilabel))
    name = columns.labels[0]
    cells = table.columns[name]
    is_list = name in table.lists
    separator = NAMED.get(delimiter, delimiter) if delimiter else JOINED if is_list else _guess(name, cells, known)
    if multilabel is False and is_list:
        _refuse_several(table, name, cells)
    if multilabel is None:
        multilabel = delimiter is not None or (separator is not None and any(separator in cell for cell in cells))
    if not multilabel:
        return Labels([(cell,) if cell else None for cell in cells], in_order({cell for cell in cells if cell}))
    rows: list[tuple[str, ...] | None] = [None if not cell else _split(cell, separator) for cell in cells]
    how = f", separated by {shown(separator)}" if separator is not None else ""
    note = f"{table.path}: several labels an image in column {name}{how}{_UNDO}"
    return Labels(rows, in_order({label for row in rows for label in row or ()}), True, [note])


_UNDO = " (multi-label; `data.multilabel=false`: one label an image)"


def _split(cell: str, separator: str | None) -> tuple[str, ...]:
    """The labels of a cell, each once."""
    if separator is None:
        return (cell,)
    parts = cell.split() if separator == " " else [part.strip() for part in cell.split(separator)]
    return tuple(dict.fromkeys(part for part in parts if part))


def _guess(name: str, cells: Sequence[str], known: Collection[str]) -> str | None:
    """The separator of several labels in a cell, or None where each cell is one label."""
    whole = {cell for cell in cells if cell}
    if known and not whole <= set(known):
        for separator in (*SEPARATORS, *WORDS):
            if all(part in known for cell in whole for part in _split(cell, separator)):
                return separator
    for separator in SEPARATORS:
        if any(separator in cell for cell in cells):
            return separator
    if name.casefold() not in _PLURAL:
        return None
    for separator in WORDS:
        parts = {part for cell in whole for part in _split(cell, separator)}
        if parts != whole and (len(parts) < len(whole) or parts < whole):
            return separator
    return None


def _refuse_several(table: Table, name: str, cells: Sequence[str]) -> None:
    for cell, line in zip(cells, table.lines, strict=True):
        if len(_split(cell, JOINED)) > 1:
            raise UserError(
                f"{table.path} {table.line} {line}: several labels in column {name}, and `data.multilabel=false`: "
                "leave that out, or list images that have one"
            )


def shown(separator: str | None) -> str:
    """A separator in words."""
    return "spaces" if separator == " " else f"{separator!r}"


def _one_hot(table: Table, names: Sequence[str], multilabel: bool | None) -> Labels:
    columns = [[number(cell) for cell in table.columns[name]] for name in names]
    for name, cells in zip(names, columns, strict=True):
        for cell, line in zip(cells, table.lines, strict=True):
            if cell not in ("0", "1", "-1", ""):
                raise UserError(
                    f"{table.path} {table.line} {line}: column {name} holds {cell!r}: columns of classes hold 0 and 1"
                )
    if any("-1" in cells and "0" in cells for cells in columns):
        raise UserError(f"{table.path}: columns of classes hold 0, 1 and -1: give 0 or 1")
    rows: list[tuple[str, ...] | None] = []
    for values in zip(*columns, strict=True):
        there = tuple(name for name, value in zip(names, values, strict=True) if value == "1")
        rows.append(there if any(values) else None)
    odd = next((i for i, row in enumerate(rows) if row is not None and len(row) != 1), None)
    if multilabel is False and odd is not None:
        raise UserError(
            f"{table.path} {table.line} {table.lines[odd]}: {len(rows[odd] or ())} of the {len(names)} columns of "
            "classes are 1, and `data.multilabel=false`: leave that out, or list images that have one label"
        )
    if multilabel or odd is not None:
        note = f"{table.path}: {len(names)} columns of classes, any number of them 1{_UNDO}"
        return Labels(rows, list(names), True, [note])
    return Labels(rows, list(names), False, [f"{table.path}: {len(names)} columns of classes, one of them 1"])


def in_order(names: Iterable[str]) -> list[str]:
    """Class names sorted, whole numbers by their value."""
    found = list(names)
    if all(re.fullmatch(r"-?\d{1,18}", name) for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)
