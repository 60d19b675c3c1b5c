"""ImageList: images and labels listed in a CSV or Parquet file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_cnn.data.decoding.source import LabelledFile, file_size
from lit_cnn.data.folders import ImageFolder
from lit_cnn.data.layout import similar_names
from lit_cnn.data.lists import rows as lists
from lit_cnn.data.lists.columns import find_columns
from lit_cnn.data.lists.files import explain_missing_files, find_root, resolve_paths
from lit_cnn.data.lists.labels import Labels, read_labels
from lit_cnn.data.lists.rows import Row
from lit_cnn.data.lists.table import Table, lists_in, read_table
from lit_cnn.data.multilabel import multi_hot
from lit_cnn.data.split import Split, hold_out, not_held_out
from lit_cnn.data.validation import some
from lit_cnn.errors import UserError, nearest
from lit_cnn.utils.console import say
from lit_cnn.utils.files import digest


@dataclass
class _Content:
    """What a list says, checked."""

    table: Table
    rows: list[Row]  # with a label
    unlabelled: list[Row]
    classes: list[str]
    multilabel: bool


class ImageList(ImageFolder):
    """Your own images, listed in a CSV or Parquet file with their labels.

    One line an image, below a header such as ``path,label,split,group``; split and group may be left out. Other usual
    names of columns are known (filename, image_id, class, is_valid, patient_id and more). Instead of a label, each
    class may have a column of 0 and 1. An image may have several labels: in a cell, such as ``cat|dog``, or by columns
    of which any number are 1. Images of one group are never in two splits. Rows without a label are left out of
    training; predict classifies them.

    Args:
        data_dir: The CSV, TSV or Parquet file, or a folder that holds one.
        root: Folder that the paths count from; null: the list's folder.
        path_column: Column of the paths, with or without the files' extension; null: by its name.
        label_column: Column of the labels, or several of 0 and 1, one for each class; null: by name.
        split_column: Column of train, val and test; null: by its name.
        label_delimiter: Between the labels of a cell: a character, or space, comma, semicolon, pipe or tab; null: | or
            ; where cells have it, and in a column called labels or tags also a comma or spaces.
        multilabel: Whether images have any number of labels; null: as the list shows.
        group_column: Column of what must stay together, such as the patient; null: by its name.
        split: How test is drawn where the list has no splits: "ratio" (seeded, stratified, by groups) or "tail" (the
            last test_fraction of each class in the order of the list).
        test_fraction: Share of the images drawn for the test split where the list has no splits; 0: none; 1: all.
        val_fraction: Share of the training images drawn for validation where the list has no val rows; 0: none.
    """

    HINT = "give a CSV file with the columns path and label, `data.data_dir=FILE`"

    def __init__(
        self,
        root: str | None = None,
        path_column: str | None = None,
        label_column: str | list[str] | None = None,
        split_column: str | None = None,
        label_delimiter: str | None = None,
        multilabel: bool | None = None,
        group_column: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._root, self._label_delimiter, self._multilabel = root, label_delimiter, multilabel
        self._columns = (path_column, label_column, split_column, group_column)

    # The list ----

    def root(self) -> Path:
        """Return the folder that paths are relative to."""
        return find_root(self._path, self._root)

    @cached_property
    def _path(self) -> Path:
        """The list."""
        given = Path(self.data_dir)
        if given.is_file():
            return given
        if not given.is_dir():
            beside = [path.name for path in lists_in(given.parent)] if given.parent.is_dir() else []
            raise UserError(f"there is no file {given}{nearest(given.name, beside, 1) or f'; {self.HINT}'}")
        found = lists_in(given)
        if len(found) != 1:
            listed = (
                f"{len(found)} lists ({some([path.name for path in found])})" if found else "no CSV or Parquet file"
            )
            raise UserError(f"{given} holds {listed}: give the list itself, `data.data_dir=FILE`")
        return found[0]

    @cached_property
    def _content(self) -> _Content:
        table = read_table(self._path)
        columns = find_columns(table, *self._columns)
        known = self._given_classes or ()
        labels = read_labels(table, columns, self._label_delimiter, self._multilabel, known)
        table.notes += labels.notes
        splits = lists.read_splits(table, columns.split) if columns.split else [""] * len(table)
        groups = table.columns[columns.group] if columns.group else [""] * len(table)
        cells = zip(table.columns[columns.path], table.lines, labels.rows, splits, groups, strict=True)
        rows = [Row(*cell) for cell in cells]
        paths, missing = resolve_paths(self.root(), rows, table)
        if missing and self.on_bad_image == "error":
            raise UserError(explain_missing_files(self.root(), rows, missing, table))
        rows = [replace(row, path=path) for row, path in zip(rows, paths, strict=True)]
        rows, note = lists.drop_duplicates(table, rows)
        lists.check_splits(table, rows)
        lists.check_groups(table, rows)
        unlabelled = [row for row in rows if row.labels is None]
        if unlabelled:
            count = f"{len(unlabelled):,} {'row' if len(unlabelled) == 1 else 'rows'}"
            table.notes.append(f"{self._path}: {count} without a label: not used but by predict")
        for line in [*table.notes, note]:
            if line:
                say(line, error=True)
        kept, classes = self._choose_classes([row for row in rows if row.labels is not None], labels)
        return _Content(table, kept, unlabelled, classes, labels.multilabel)

    def _choose_classes(self, rows: list[Row], labels: Labels) -> tuple[list[Row], list[str]]:
        """Return the rows to use and the classes: those of train, where there are splits, and others of the model."""
        given, where = self._given_classes or (), self._path
        trained = {label for row in rows if row.split == "train" for label in row.labels or ()}
        if not trained or len(labels.rows) == 0:
            known = labels.classes
        else:
            known = [name for name in labels.classes if name in trained or name in given]
        others = Counter(label for row in rows for label in row.labels or () if label not in set(known))
        if others:
            listed = some([f"{name} ({count:,})" for name, count in others.items()])
            say(f"{where}: left out, no training images of class {listed}", error=True)
            names = set(known)
            rows = [row for row in rows if names.issuperset(row.labels or ())]
        if len(known) == 1 and not given:
            raise UserError(f"{where} has a single class, {known[0]!r}: give at least two")
        if not given and (similar := similar_names(known)):
            pairs = ", ".join(" and ".join(map(repr, group)) for group in similar[:3])
            say(f"{where}: note: class names that differ only in case, spaces or accents: {pairs}", error=True)
        return rows, known

    @property
    def multilabel(self) -> bool:  # type: ignore[override]  # an attribute of data sets that have one label
        """Whether images have any number of labels."""
        return self._content.multilabel

    def _targets(self, files: Sequence[LabelledFile]) -> Tensor:
        if not self.multilabel:
            return super()._targets(files)
        return multi_hot([file.classes for file in files], self.class_names)

    def preprocessing(self) -> dict[str, Any]:
        """Return how images are prepared for evaluation, and whether they have any number of labels."""
        return {**super().preprocessing(), **({"multilabel": True} if self.multilabel else {})}

    def data_classes(self) -> list[str]:
        """Return the classes: sorted, whole numbers by value; those of columns in their order."""
        if not self._content.classes:
            if self._given_classes is not None:
                return []
            raise UserError(f"{self._path} has no labels: add a column label; predict needs none")
        return self._content.classes

    def list_files(self) -> dict[str, list[LabelledFile]]:
        """Return the labelled images by split, or all of them under "all"."""
        content = self._content
        found: dict[str, list[LabelledFile]] = {}
        for row in content.rows:
            assert row.labels is not None
            found.setdefault(row.split or "all", []).append(
                LabelledFile(row.path, "|".join(row.labels), row.labels if content.multilabel else None)
            )
        if "all" in found and self.test_fraction == 1:
            return {"test": found["all"]}
        order = ("train", "val", "test", "all")
        return {split: found[split] for split in order if split in found}

    def _refuse_empty(self, names: Sequence[str]) -> None:
        """Classes without images have a column, or are of images that are skipped: told where they matter."""

    def _shown(self, path: str) -> str:
        return path

    @cached_property
    def _fingerprint(self) -> str:
        root, used = self.root(), {file.path for files in self._files.values() for file in files}
        rows = sorted((row for row in self._content.rows if row.path in used), key=lambda row: row.path)
        parts = [(row.path, file_size(root / row.path), *(row.labels or ()), "", row.split, row.group) for row in rows]
        return digest(*("\0".join(map(str, part)) for part in parts))

    # Splits ----

    def _hold_out(
        self, indices: dict[str, Tensor], fractions: dict[str, float], paths: Sequence[str], targets: Tensor
    ) -> dict[str, Tensor]:
        group = {row.path: row.group or row.path for row in self._content.rows}
        grouped = any(row.group for row in self._content.rows)
        if (grouped or self.multilabel) and self.split == "tail" and "test" in fractions:
            why = "several labels an image" if self.multilabel else "groups"
            raise UserError(f"`data.split=tail` takes the last images of each class: with {why} use ratio")
        found = hold_out(
            indices,
            fractions,
            paths,
            targets,
            seed=self.split_seed,
            class_names=self.class_names,
            tail=self.split == "tail",
            groups=[group[path] for path in paths] if grouped or self.multilabel else None,
        )
        if "test" in fractions:
            counts = ", ".join(f"{len(found.get(name, ())):,} {name}" for name in ("train", "val", "test"))
            say(f"{self._path} has no splits: {counts} images drawn here; `data.test_fraction=1` tests all")
        return found

    def setup(self, stage: str) -> None:
        """Build the splits; predict takes the rows without a label where the list has no labelled test rows."""
        if stage == "predict" and self._content.unlabelled and not (self._content.rows and self.has_split("test")):
            paths = self._drop_broken([row.path for row in self._content.unlabelled])
            shape = (len(paths), self.num_classes) if self.multilabel else (len(paths),)
            unknown = torch.full(shape, -1, dtype=torch.int64)
            self._splits["test"] = Split(self._file_source(self.root(), paths, unknown), torch.arange(len(paths)))
        super().setup(stage)

    def all_paths(self) -> tuple[Path, list[str]]:
        """Return the folder and the paths of all images, those without a label included."""
        root, paths = super().all_paths()
        return root, paths + [row.path for row in self._content.unlabelled]

    def _remedy(self, name: str) -> str:
        fraction = getattr(self, f"{name}_fraction", None)
        if fraction == 0 and (name == "val" or "all" in self._found):
            return not_held_out(name, self.has_split("val"))
        return f"add rows with {name} in the column of the splits"
