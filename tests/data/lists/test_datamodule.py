"""ImageList: paths, labels, splits and groups of a list, and lines for what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_cnn.data import ImageFolder
from lit_cnn.errors import UserError

from .helpers import image_list, labels_of, write_images, write_list

NAMES = [f"images/{i:02d}.png" for i in range(12)]
LABELS = [("cat", "dog", "emu")[i % 3] for i in range(12)]
SPLITS = ["train"] * 6 + ["valid"] * 3 + ["Test"] * 3
ROWS = list(zip(NAMES, LABELS, strict=True))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_images(tmp_path, NAMES)
    return tmp_path


def test_given_splits_are_used_as_they_are(root):
    data = image_list(write_list(root / "list.csv", "path,label,split", zip(NAMES, LABELS, SPLITS, strict=True)))
    assert data.class_names == ["cat", "dog", "emu"]
    for split, start, stop in (("train", 0, 6), ("val", 6, 9), ("test", 9, 12)):
        assert labels_of(data, split) == dict(ROWS[start:stop])
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    assert batch.target.tolist() == [0, 1, 2]


def test_without_splits_they_are_drawn_stratified_and_all_can_be_tested(root, capsys):
    path = write_list(root / "list.csv", "path,label", ROWS)
    data = image_list(path, test_fraction=0.25, val_fraction=0.34)
    parts = {name: set(labels_of(data, name).values()) for name in ("train", "val", "test")}
    assert list(parts.values()) == [{"cat", "dog", "emu"}] * 3
    assert "has no splits: 6 train, 3 val, 3 test images drawn here" in capsys.readouterr().out
    assert labels_of(image_list(path, test_fraction=1), "test") == dict(ROWS)


def test_is_valid_means_validation_as_in_fastai(root):
    rows = [(name, label, str(i % 4 == 0)) for i, (name, label) in enumerate(ROWS)]
    data = image_list(write_list(root / "list.csv", "fname,labels,is_valid", rows))
    assert sorted(labels_of(data, "val")) == NAMES[::4]
    assert not data.has_split("test")


def test_groups_never_cross_splits(root):
    rows = [(name, label, f"p{i // 3}") for i, (name, label) in enumerate(ROWS)]
    data = image_list(write_list(root / "list.csv", "path,label,patient_id", rows), test_fraction=0.3, val_fraction=0.3)
    group = {name: group for name, _, group in rows}
    parts = [{group[name] for name in labels_of(data, split)} for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 4
    given = [(*row, split) for row, split in zip(rows, ["train"] * 4 + ["test"] * 8, strict=True)]
    data = image_list(write_list(root / "list.csv", "path,label,group,split", given))
    line = r"group 'p1' is in train \(line 5\) and in test \(line 6\): images of a group must be in one split"
    with pytest.raises(UserError, match=line):
        data.setup("fit")


def test_whole_numbers_are_labels_in_their_order_and_keep_their_text(root):
    rows = [(name, str(i)) for i, name in enumerate(NAMES)]
    assert image_list(write_list(root / "list.csv", "path,label", rows)).class_names == [str(i) for i in range(12)]
    rows = [(name, f"{i % 2:02d}") for i, name in enumerate(NAMES)]
    assert image_list(write_list(root / "list.csv", "path,label", rows)).class_names == ["00", "01"]


def test_paths_may_lack_extensions_be_absolute_or_count_from_another_folder(root, monkeypatch):
    stems = [(Path(name).stem, label) for name, label in ROWS]
    path = write_list(root / "list.csv", "image_id,label", stems)
    wanted = {Path(name).name: label for name, label in ROWS}
    monkeypatch.chdir(root.parent)
    for given in (str(root / "images"), "images"):  # in the working folder, or else beside the list
        assert labels_of(image_list(path, root=given, test_fraction=1), "test") == wanted
    (root / "images" / "03.jpg").touch()
    with pytest.raises(UserError, match=r"line 5: 03 can be 03.jpg or 03.png: add the extension"):
        image_list(path, root="images").setup("fit")
    absolute = [(str(root / name), label) for name, label in ROWS]
    data = image_list(write_list(root.parent / "absolute.csv", "path,label", absolute), test_fraction=1)
    assert labels_of(data, "test") == dict(absolute)
    windows = [(name.replace("/", "\\"), label) for name, label in ROWS]
    data = image_list(write_list(root / "windows.csv", "path,label", windows), test_fraction=1)
    assert labels_of(data, "test") == dict(ROWS)


def test_missing_images_are_counted_and_named_or_skipped(root):
    path = write_list(root / "list.csv", "path,label", [*ROWS, ("images/no.png", "cat"), ("images/never.png", "dog")])
    with pytest.raises(UserError, match=r"2 of 14 images are not in .*: images/no.png \(line 14\), images/never.png"):
        image_list(path).setup("fit")
    data = image_list(path, on_bad_image="skip", test_fraction=1)
    assert labels_of(data, "test") == dict(ROWS)
    assert sorted(data.skipped("test")) == ["images/never.png", "images/no.png"]
    path = write_list(root / "list.csv", "path,label", [(Path(name).name, label) for name, label in ROWS])
    with pytest.raises(UserError, match=rf"they are in {root}/images: give `data.root={root}/images`"):
        image_list(path).setup("fit")


def test_repeated_rows_are_used_once_and_contradictions_refused(root, capsys):
    path = write_list(root / "list.csv", "path,label", [*ROWS, ROWS[0], (f"./{NAMES[1]}", LABELS[1])])
    assert labels_of(image_list(path, test_fraction=1), "test") == dict(ROWS)
    assert "2 rows repeated, such as images/00.png: used once" in capsys.readouterr().err
    path = write_list(root / "list.csv", "path,label", [*ROWS, (NAMES[0], "dog")])
    with pytest.raises(
        UserError, match=r"images/00.png twice, with label cat \(line 2\) and dog \(line 14\): keep one"
    ):
        image_list(path).setup("fit")
    rows = [*((*row, "train") for row in ROWS), (*ROWS[0], "test")]
    with pytest.raises(UserError, match=r"twice, with split train \(line 2\) and test \(line 14\)"):
        image_list(write_list(root / "list.csv", "path,label,split", rows)).setup("fit")


def test_rows_without_a_label_are_left_to_predict(root, capsys):
    rows = [(name, label if i < 9 else "", "" if i > 8 else "train") for i, (name, label) in enumerate(ROWS)]
    data = image_list(write_list(root / "list.csv", "path,label,split", rows))
    data.setup("predict")
    assert "3 rows without a label: not used but by predict" in capsys.readouterr().err
    batch = next(iter(data.predict_dataloader()))
    assert batch.target.tolist() == [-1] * 3
    assert [data.sample_name("predict", i) for i in batch.index.tolist()] == NAMES[9:]
    assert set(labels_of(image_list(root / "list.csv"), "train")) <= set(NAMES[:9])


def test_labels_and_splits_are_part_of_the_fingerprint(root):
    rows = [list(row) for row in zip(NAMES, LABELS, SPLITS, strict=True)]
    path = root / "list.csv"
    first = image_list(write_list(path, "path,label,split", rows)).fingerprint()
    assert image_list(write_list(path, "path,label,split", rows[::-1])).fingerprint() == first
    rows[0][1], rows[1][1] = rows[1][1], rows[0][1]
    second = image_list(write_list(path, "path,label,split", rows)).fingerprint()
    rows[0][2], rows[11][2] = rows[11][2], rows[0][2]
    assert len({first, second, image_list(write_list(path, "path,label,split", rows)).fingerprint()}) == 3


def test_classes_that_only_another_split_has_are_left_out(root, capsys):
    rows = [*zip(NAMES[:11], LABELS, SPLITS, strict=False), (NAMES[11], "yak", "test")]
    data = image_list(write_list(root / "list.csv", "path,label,split", rows))
    assert data.class_names == ["cat", "dog", "emu"]
    assert list(labels_of(data, "test")) == NAMES[9:11]
    assert "left out, no training images of class yak (1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "rows", "line"),
    [
        ("path,label", [(name, "cat") for name in NAMES], "has a single class, 'cat'"),
        ("path,label,split", [(*row, "most") for row in ROWS], r"line 2: 'most' in column split is no split"),
        (
            "path,label,split",
            [(*row, "train" * (i > 0)) for i, row in enumerate(ROWS)],
            "1 rows with a label have no split, the first in line 2",
        ),
        ("path", [(name,) for name in NAMES], "has no labels: add a column label"),
        ("path,label", [("https://x.org/a.png", "cat"), *ROWS], "line 2: https://x.org/a.png is an address: download"),
        ("path,label", [("", "cat"), *ROWS], "line 2 has no path"),
    ],
)
def test_lists_that_cannot_be_used_are_one_line(root, header, rows, line):
    with pytest.raises(UserError, match=line) as error:
        image_list(write_list(root / "list.csv", header, rows)).setup("fit")
    assert "\n" not in str(error.value)


def test_a_folder_with_one_list_is_that_list_and_a_folder_of_images_names_the_list_beside_it(root):
    write_list(root / "labels.csv", "path,label", ROWS)
    assert image_list(root).class_names == ["cat", "dog", "emu"]
    with pytest.raises(
        UserError, match=rf"if {root}/labels.csv tells their classes, give it: `data={root}/labels.csv`"
    ):
        ImageFolder(data_dir=str(root / "images")).setup("fit")
    write_list(root / "more.csv", "path,label", ROWS)
    with pytest.raises(UserError, match=r"holds 2 lists \(labels.csv, more.csv\): give the list itself"):
        image_list(root).setup("fit")
    with pytest.raises(UserError, match=r"there is no file .*lables.csv, did you mean"):
        image_list(root / "lables.csv").setup("fit")


def test_a_column_for_each_class_of_which_one_is_1_is_a_label(root):
    rows = [(name, "01"[i % 2], "10"[i % 2]) for i, name in enumerate(NAMES)]
    data = image_list(write_list(root / "list.csv", "path,cat,dog", rows))
    assert data.class_names == ["cat", "dog"]
