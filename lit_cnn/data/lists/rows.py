"""Rows of a list: labels, splits and groups, and what is wrong with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lit_cnn.data.layout import split_of
from lit_cnn.data.lists.columns import Columns, number
from lit_cnn.data.lists.table import JOINED, Table
from lit_cnn.errors import UserError

SEPARATORS = ("|", ";")  # of labels, which hardly occur in names
WORDS = (",", " ")  # of labels where the column's name says that there are several
_PLURAL = ("labels", "tags", "classes")


@dataclass(frozen=True)
class Row:
    """One image of a list.

    Attributes:
        path: as the list has it, or with the extension that it lacks.
        line: of the list.
        labels: its class; None where no label is given.
        split: "train", "val", "test", or "" to be drawn.
        group: "" where it has none.
    """

    path: str
    line: int
    labels: tuple[str, ...] | None
    split: str = ""
    group: str = ""


@dataclass
class Labels:
    """Labels of all rows.

    Attributes:
        rows: the classes of each row, or None.
        classes: in their order.
        notes: lines for the user.
    """

    rows: list[tuple[str, ...] | None]
    classes: list[str]
    notes: list[str] = field(default_factory=list)


def read_labels(table: Table, columns: Columns) -> Labels:
    """Labels of a list.

    Raises:
        UserError: images have several labels, or a column of a class holds other values than 0 and 1.
    """
    if columns.is_one_hot:
        return _one_hot(table, columns.labels)
    if not columns.labels:
        return Labels([None] * len(table), [])
    name = columns.labels[0]
    cells = table.columns[name]
    separator = JOINED if name in table.lists else _guess(name, cells)
    lines = [line for cell, line in zip(cells, table.lines, strict=True) if separator is not None and separator in cell]
    if lines:
        raise UserError(
            f"{table.path} {table.line} {lines[0]}: several labels in column {name}, separated by {_shown(separator)}: "
            "an image has one label here; list those that have one"
        )
    return Labels([(cell,) if cell else None for cell in cells], in_order({cell for cell in cells if cell}))


def _split(cell: str, separator: str) -> tuple[str, ...]:
    parts = cell.split() if separator == " " else [part.strip() for part in cell.split(separator)]
    return tuple(dict.fromkeys(part for part in parts if part))


def _guess(name: str, cells: Sequence[str]) -> str | None:
    """The separator of several labels in a cell, or None where each cell is one label."""
    for separator in SEPARATORS:
        if any(separator in cell for cell in cells):
            return separator
    if name.casefold() not in _PLURAL:
        return None
    whole = {cell for cell in cells if cell}
    for separator in WORDS:
        parts = {part for cell in whole for part in _split(cell, separator)}
        if parts != whole and (len(parts) < len(whole) or parts < whole):
            return separator
    return None


def _shown(separator: str | None) -> str:
    return "spaces" if separator == " " else f"{separator!r}"


def _one_hot(table: Table, names: Sequence[str]) -> Labels:
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
    for row, line in zip(rows, table.lines, strict=True):
        if row is not None and len(row) != 1:
            raise UserError(
                f"{table.path} {table.line} {line}: {len(row)} of the {len(names)} columns of classes are 1: an image "
                "has one label here; list those that have one"
            )
    return Labels(rows, list(names), [f"{table.path}: {len(names)} columns of classes, one of them 1"])


def in_order(names: Iterable[str]) -> list[str]:
    """Class names sorted, whole numbers by their value."""
    found = list(names)
    if all(re.fullmatch(r"-?\d{1,18}", name) for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)


def read_splits(table: Table, name: str) -> list[str]:
    """The split of each row: "train", "val" or "test", or "" where the cell is empty.

    Raises:
        UserError: a word that means no split.
    """
    cells = table.columns[name]
    words = set(cells) - {""}
    if _is_valid_column(name, words):
        meaning = {word: "val" if word.lower() in ("1", "true", "yes", "1.0") else "train" for word in words}
    else:
        meaning = {word: split_of(word, words) or "" for word in words}
    for cell, line in zip(cells, table.lines, strict=True):
        if cell and not meaning[cell]:
            raise UserError(
                f"{table.path} {table.line} {line}: {cell!r} in column {name} is no split: give train, val or test"
            )
    return [meaning[cell] if cell else "" for cell in cells]


def _is_valid_column(name: str, words: set[str]) -> bool:
    truths = {"true", "false", "0", "1", "yes", "no", "0.0", "1.0"}
    return bool(re.search(r"valid", name.casefold())) and {word.lower() for word in words} <= truths


def check_splits(table: Table, rows: Sequence[Row]) -> None:
    """Refuse labelled rows without a split where others have one."""
    lacking = [row for row in rows if not row.split and row.labels is not None]
    if lacking and len(lacking) < len(rows) and any(row.split for row in rows):
        raise UserError(
            f"{table.path}: {len(lacking):,} rows with a label have no split, the first in {table.line} "
            f"{lacking[0].line}: give each train, val or test, or leave the column out"
        )


def check_groups(table: Table, rows: Sequence[Row]) -> None:
    """Refuse a group of which several splits have images.

    Raises:
        UserError: naming the group.
    """
    first: dict[str, Row] = {}
    for row in rows:
        before = first.setdefault(row.group, row) if row.group and row.split else row
        if before.split != row.split:
            raise UserError(
                f"{table.path}: group {row.group!r} is in {before.split} ({table.line} {before.line}) and in "
                f"{row.split} ({table.line} {row.line}): images of a group must be in one split; leave the splits out "
                "to have them drawn"
            )


def drop_duplicates(table: Table, rows: Sequence[Row]) -> tuple[list[Row], str]:
    """Rows without those that say the same again, and a note on these.

    Raises:
        UserError: two rows say different things about one image.
    """
    first: dict[str, Row] = {}
    repeated: Counter[str] = Counter()
    for row in rows:
        before = first.setdefault(row.path, row)
        if before is row:
            continue
        if replace(row, line=before.line) != before:
            what, old, new = _difference(before, row)
            raise UserError(
                f"{table.path} lists {row.path} twice, with {what} {old} ({table.line} {before.line}) and {new} "
                f"({table.line} {row.line}): keep one"
            )
        repeated[row.path] += 1
    note = ""
    if repeated:
        count, example = sum(repeated.values()), next(iter(repeated))
        note = f"{table.path}: {count:,} {'row' if count == 1 else 'rows'} repeated, such as {example}: used once"
    return list(first.values()), note


def _difference(before: Row, row: Row) -> tuple[str, str, str]:
    if before.labels != row.labels:
        old, new = ("|".join(each.labels or ()) or "none" for each in (before, row))
        return "label", old, new
    what = "split" if before.split != row.split else "group"
    return what, getattr(before, what) or "none", getattr(row, what) or "none"
