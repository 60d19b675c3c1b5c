"""Rows of a list: splits and groups, and what is wrong with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lit_cnn.data.layout import split_of
from lit_cnn.data.lists.table import Table
from lit_cnn.errors import UserError


@dataclass(frozen=True)
class Row:
    """One image of a list.

    Attributes:
        path: as the list has it, or with the extension that it lacks.
        line: of the list.
        labels: its class, or with several labels an image any number of classes; None where no label is given.
        split: "train", "val", "test", or "" to be drawn.
        group: "" where it has none.
    """

    path: str
    line: int
    labels: tuple[str, ...] | None
    split: str = ""
    group: str = ""


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
