"""Several labels an image: where a list has them, targets, splits, and lines for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_cnn.data import ImageList
from lit_cnn.errors import UserError

from .helpers import image_list, write_images, write_list

NAMES = [f"images/{i:02d}.png" for i in range(12)]
# every third image has both
LABELS = [("cat", "dog", "cat|dog")[i % 3] for i in range(12)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_images(tmp_path, NAMES)
    return tmp_path


def targets(data: ImageList) -> dict[str, list[int]]:
    """0 and 1 of each image, by name."""
    found = {}
    for split in data.splits().values():
        found |= {split.source.name(i): split.source.targets[i].tolist() for i in split.indices.tolist()}
    return found


def first_batch(data: ImageList) -> object:
    """The first training batch."""
    data.setup("fit")
    return next(iter(data.train_dataloader()))


EXPECTED = {name: [[1, 0], [0, 1], [1, 1]][i % 3] for i, name in enumerate(NAMES)}


@pytest.mark.parametrize(
    ("header", "separator", "kwargs"),
    [
        ("path,label", "|", {}),
        ("path,label", ";", {}),
        ("image_name,tags", " ", {}),
        ("path,labels", ",", {}),
        ("path,label", " ", {"label_delimiter": "space"}),
        ("path,label", "/", {"label_delimiter": "/"}),
    ],
)
def test_labels_of_a_cell_are_separated_by_what_is_usual_or_given(root, header, separator, kwargs, capsys):
    rows = [(name, label.replace("|", separator)) for name, label in zip(NAMES, LABELS, strict=True)]
    data = image_list(write_list(root / "list.csv", header, rows), **kwargs)
    assert data.multilabel
    assert data.class_names == ["cat", "dog"]
    assert targets(data) == EXPECTED
    assert "several labels an image in column" in capsys.readouterr().err


def test_columns_of_classes_may_have_any_number_of_1(root):
    rows = [(name, *map(str, EXPECTED[name])) for name in NAMES[:-1]]
    data = image_list(write_list(root / "list.csv", "path,cat,dog", [*rows, (NAMES[-1], "0", "0")]))
    assert data.multilabel
    assert targets(data) == {**EXPECTED, NAMES[-1]: [0, 0]}


def test_one_label_an_image_stays_that(root, capsys):
    rows = [(name, "a|b" if i % 2 else "c") for i, name in enumerate(NAMES)]
    data = image_list(write_list(root / "list.csv", "path,label", rows), multilabel=False)
    assert not data.multilabel
    assert data.class_names == ["a|b", "c"]
    single = image_list(write_list(root / "one.csv", "path,label", zip(NAMES, ["x", "y"] * 6, strict=True)))
    assert not single.multilabel
    assert next(iter(single.val_dataloader())).target.ndim == 1


def test_splits_hold_out_every_label_and_groups_as_a_whole(root):
    path = write_list(root / "list.csv", "path,label", zip(NAMES, LABELS, strict=True))
    data = image_list(path, test_fraction=0.25, val_fraction=0.34)
    for split in data.splits().values():
        assert split.source.targets[split.indices].sum(0).min() > 0
    rows = zip(NAMES, LABELS, [str(i // 2) for i in range(12)], strict=True)
    grouped = image_list(write_list(root / "groups.csv", "path,label,group", rows), test_fraction=0.25)
    for split in grouped.splits().values():
        numbers = {int(split.source.name(i)[-6:-4]) for i in split.indices.tolist()}
        assert all(number ^ 1 in numbers for number in numbers)


@pytest.mark.parametrize(
    ("header", "cells", "kwargs", "message"),
    [
        ("path,label", ["a|b", "a"], {"label_delimiter": "|", "multilabel": False}, "give one"),
        ("path,a,b", ["1,1", "1,0"], {"multilabel": False}, "line 2: 2 of the 2 columns of classes are 1"),
        ("path,label", ["a|b", "a"], {"split": "tail"}, "with several labels an image use ratio"),
        ("path,label", ["a|b", "a"], {"sampling": "balanced"}, "`data.sampling=balanced` needs one label an image"),
    ],
)
def test_what_does_not_go_together_is_one_line(root, header, cells, kwargs, message):
    rows = [(name, *cells[i % 2].split(",")) for i, name in enumerate(NAMES)]
    data = image_list(write_list(root / "list.csv", header, rows), **kwargs)
    with pytest.raises(UserError, match=message):
        first_batch(data)
