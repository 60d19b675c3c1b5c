"""Names of columns as other tools and competitions have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_cnn.data.lists.columns import find_columns
from lit_cnn.data.lists.table import Table
from lit_cnn.errors import UserError


def table(**columns: list[str]) -> Table:
    return Table(Path("list.csv"), columns, list(range(2, 2 + len(next(iter(columns.values()))))))


def found(content: Table, **given):
    columns = find_columns(content, **{"path": None, "label": None, "split": None, "group": None, **given})
    return columns.path, columns.labels, columns.split, columns.group


def names(*header: str) -> Table:
    return table(**{name: ["a.jpg", "b.jpg"] for name in header})


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (("path", "label", "split", "group"), ("path", ["label"], "split", "group")),
        (("image_id", "label"), ("image_id", ["label"], "", "")),  # Kaggle, cassava
        (("fname", "labels", "is_valid"), ("fname", ["labels"], "is_valid", "")),  # fastai, PASCAL 2007
        (("image", "label"), ("image", ["label"], "", "")),  # AutoGluon
        (("file_name", "class"), ("file_name", ["class"], "", "")),  # Hugging Face
        (("id", "breed"), ("id", ["breed"], "", "")),  # Kaggle, dog breeds
        (("File Name", "Category", "Patient-ID"), ("File Name", ["Category"], "", "Patient-ID")),
        (("id", "filename", "category_id", "label"), ("filename", ["label"], "", "")),
        (("path",), ("path", [], "", "")),
    ],
)
def test_usual_names_are_known(header, wanted):
    assert found(names(*header))[: len(wanted)] == wanted


def test_columns_of_0_and_1_are_classes():
    content = table(path=["a.jpg", "b.jpg"], cat=["1", "0"], dog=["0.0", "1.0"], bird=["0", ""])
    assert found(content)[1] == ["cat", "dog", "bird"]
    assert found(content, label=["cat", "dog"])[1] == ["cat", "dog"]


def test_what_was_guessed_and_what_is_not_used_is_told_and_the_documented_names_are_not():
    content = names("image_id", "label", "url")
    found(content)
    assert content.notes == ["list.csv: paths in image_id, labels in label; not used: url"]
    content = names("path", "label", "split")
    found(content)
    assert content.notes == []


@pytest.mark.parametrize(
    ("content", "given", "line"),
    [
        (names("path", "label"), {"label": "lable"}, "no column 'lable', `data.label_column`, did you mean 'label'?"),
        (names("where", "label"), {}, "has no column called path: is it where?"),
        (table(where=["a"], label=["x"]), {}, "no column called path or filename: name it, `data.path_column=NAME`"),
        (names("path", "age", "sex"), {}, "no column called label or class: name it, `data.label_column=NAME`"),
        (names("cat/1.jpg", "cat"), {}, "begins without a header: add a first line, such as path,label"),
    ],
)
def test_unknown_columns_are_one_line(content, given, line):
    with pytest.raises(UserError) as error:
        found(content, **given)
    assert line in str(error.value)
