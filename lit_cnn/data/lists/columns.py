"""Find out which columns of a list hold paths, labels, splits and groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lit_cnn.data.decoding.find import is_image_name
from lit_cnn.data.lists.table import Table
from lit_cnn.errors import UserError, nearest

# Names that columns have, in the order in which they are looked for; compared without case, spaces and hyphens.
PATH = (
    *("path", "file_path", "filepath", "image_path", "img_path", "filename", "file_name", "fname", "file"),
    *("image_file", "image_name", "img_name", "image_id", "img_id", "image", "img", "id"),
)
LABEL = (
    *("label", "labels", "class", "classes", "class_name", "target", "category", "tags", "tag", "label_name"),
    *("class_id", "label_id", "category_name", "category_id"),
)
SPLIT = ("split", "subset", "partition", "set", "phase", "is_valid")
GROUP = ("group", "groups", "group_id", "patient_id", "patient", "subject_id", "subject")
ONE_HOT = ({"0", "1"}, {"-1", "1"})  # values of the columns of classes
_NUMBER = {"0.0": "0", "1.0": "1", "-1.0": "-1", "true": "1", "false": "0"}


@dataclass
class Columns:
    """Names of the columns.

    Attributes:
        path: of the images' paths.
        labels: of the label, or of the classes, with 0 and 1 in each (one-hot); none where there are no labels.
        split, group: "" where there are none.
    """

    path: str
    labels: list[str]
    split: str = ""
    group: str = ""

    @property
    def is_one_hot(self) -> bool:
        """Whether there is a column for each class."""
        return len(self.labels) > 1


def find_columns(
    table: Table, path: str | None, label: str | Sequence[str] | None, split: str | None, group: str | None
) -> Columns:
    """The columns of a list, and notes on those that were guessed.

    Args:
        table: the list; notes are added to it.
        path, label, split, group: names that the user gave; several labels are columns of classes.

    Raises:
        UserError: a given column is not there, or no column holds paths.
    """
    given = [label] if isinstance(label, str) else list(label or ())
    for setting, names in (("label", given), ("split", [split]), ("group", [group])):
        for name in names:
            _check_given(table, setting, name)
    taken = [name for name in (path, *given, split, group) if name is not None]
    found = Columns(
        find_paths(table, path, taken),
        given,
        split or _named(table, SPLIT, taken),
        group or _named(table, GROUP, taken),
    )
    if not found.labels:
        found.labels = _find_labels(table, [found.path, found.split, found.group])
    used = {"paths": found.path, "labels": _some(found.labels, 3), "splits": found.split, "groups": found.group}
    usual = {"path", "label", "split", "group"}
    if taken or {*used.values()} - usual - {""}:
        told = ", ".join(f"{what} in {name}" for what, name in used.items() if name)
        others = [name for name in table.columns if name not in (found.path, *found.labels, found.split, found.group)]
        table.notes.append(f"{table.path}: {told}" + (f"; not used: {_some(others)}" if others else ""))
    return found


def find_paths(table: Table, given: str | None = None, taken: Sequence[str] = ()) -> str:
    """The column of the paths: ``given``, or that of a usual name that is not ``taken``.

    Raises:
        UserError: there is none.
    """
    _check_given(table, "path", given)
    found = given or _named(table, PATH, taken)
    if not found:
        _refuse_no_paths(table)
    return found


def _check_given(table: Table, setting: str, name: str | None) -> None:
    if name is not None and name not in table.columns:
        hint = nearest(name, table.columns) or ";"
        raise UserError(
            f"{table.path} has no column {name!r}, `data.{setting}_column`{hint} columns: {_some(list(table.columns))}"
        )


def is_one_hot(cells: Sequence[str]) -> bool:
    """Whether the cells of a column are 0 and 1, or -1 and 1; empty ones do not count."""
    found = {number(cell) for cell in cells} - {""}
    return bool(found) and any(found <= values for values in ONE_HOT)


def number(cell: str) -> str:
    """``1.0`` and ``True`` as ``1``."""
    return _NUMBER.get(cell.lower(), cell)


def _find_labels(table: Table, taken: Sequence[str]) -> list[str]:
    if name := _named(table, LABEL, taken):
        return [name]
    rest = [name for name in table.columns if name not in taken]
    classes = [name for name in rest if is_one_hot(table.columns[name])]
    if len(rest) > 1 and classes == rest:
        return classes
    if len(rest) == 1 and any(table.columns[rest[0]]):
        return rest
    if rest and any(any(table.columns[name]) for name in rest):
        raise UserError(
            f"{table.path} has no column called label or class: name it, `data.label_column=NAME`; columns: "
            f"{_some(list(table.columns))}"
        )
    return []


def _named(table: Table, names: Sequence[str], taken: Sequence[str]) -> str:
    plain = {_plain(name): name for name in reversed(list(table.columns)) if name not in taken}
    return next((plain[name] for name in map(_plain, names) if name in plain), "")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _refuse_no_paths(table: Table) -> None:
    header = list(table.columns)
    if any(is_image_name(name) for name in header):
        raise UserError(f"{table.path} begins without a header: add a first line, such as path,label")
    for name, cells in table.columns.items():
        if is_image_name(next(filter(None, cells), "")):
            raise UserError(f"{table.path} has no column called path: is it {name}? `data.path_column={name}`")
    raise UserError(
        f"{table.path} has no column called path or filename: name it, `data.path_column=NAME`; columns: "
        f"{_some(header)}"
    )


def _some(names: Sequence[str], count: int = 8) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
