"""Which folders are splits and which are classes: known names, archives, and what looks wrong is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lit_cnn.data.layout import find_layout, similar_names, split_of
from lit_cnn.errors import UserError

from .helpers import image_folder

Make = Callable[[dict[str, int]], Path]
CLASSES = ("cat", "dog", "owl")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a function that writes ``{"train/cat": 2}`` as images of one pixel in the folder ``set``."""
    monkeypatch.chdir(tmp_path)

    def write(counts: dict[str, int]) -> Path:
        for name, count in counts.items():
            folder = Path("set", name)
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.new("L", (1, 1)).save(folder / f"{i}.png")
        return Path("set")

    return write


def classes_in(*folders: str) -> dict[str, int]:
    """Return the same classes in each of the folders."""
    return {f"{folder}/{name}": 1 for folder in folders for name in CLASSES}


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train Train TRAIN training Training train_set trainset training_set train-images TrainImages"),
        ("train", "seg_train images_train train2017 train_1 dataset_train trn raw_train train_data"),
        ("val", "val Val valid validation Validation val_images validset valset seg_val dev eval evaluation val2017"),
        ("test", "test TEST testing Testing test_images testset test_set seg_test test1 testdata tst"),
        (None, "trainval seg_pred pred cat trains invalid contest latest attraining unlabeled images data set1 extra"),
    ],
)
def test_a_split_is_known_by_its_usual_names_and_by_no_others(split: str | None, names: str) -> None:
    assert {name: split_of(name) for name in names.split()} == dict.fromkeys(names.split(), split)


def test_evaluation_is_validation_but_test_beside_a_validation_folder() -> None:
    assert split_of("evaluation", ["training", "evaluation"]) == "val"
    assert split_of("evaluation", ["training", "validation", "evaluation"]) == "test"


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("train", "test", "test"),
        ("Training", "Testing", "test"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
        ("training_set/training_set", "test_set/test_set", "test"),
        ("train/images", "val/images", "val"),
        ("dataset/train", "dataset/valid", "val"),
        ("images/train", "images/val", "val"),
        ("data/photos/Train", "data/photos/dev", "val"),
        ("train2017", "val2017", "val"),
        ("chest_xray_train", "chest_xray_test", "test"),
    ],
)
def test_splits_are_found_and_told_unless_their_names_are_lit_cnns_own(
    make: Make, train: str, other: str, split: str
) -> None:
    layout = find_layout(make(classes_in(train, other)))
    assert {name: folder.relative_to("set").as_posix() for name, folder in layout.folders.items()} == {
        "train": train,
        split: other,
    }
    assert len(layout.notes) == (0 if train == "train" else 1 + train.startswith("data/"))
    assert not layout.notes or "using" in layout.notes[-1]


@pytest.mark.parametrize(
    ("counts", "folders"),
    [
        (classes_in("photos"), {"all": "photos"}),
        ({**classes_in("archive"), "__MACOSX": 0}, {"all": "archive"}),
        ({**classes_in("images"), "labels": 0}, {"all": "images"}),
        ({"bus": 1, "car": 1, "train": 1}, {"all": "."}),
        ({"valid": 1, "invalid": 1}, {"all": "."}),
        ({"cat/young": 1, "cat/old": 1, "dog": 1}, {"all": "."}),
        ({"cat/images": 1, "dog/images": 1}, {"all": "."}),
        ({"cat/sub": 1}, {"all": "."}),
        (classes_in("test"), {"test": "test"}),
        ({**classes_in("train"), "val/cat": 1}, {"train": "train", "val": "val"}),
    ],
    ids=str,
)
def test_class_folders_are_found(make: Make, counts: dict[str, int], folders: dict[str, str]) -> None:
    found = find_layout(make(counts)).folders
    assert {name: folder.relative_to("set").as_posix() for name, folder in found.items()} == folders


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        ({**classes_in("train"), "test": 2}, "set/test holds 2 images without class folders: not used; move them to"),
        ({**classes_in("train"), "val": 3}, "set/val holds 3 images without class folders: not used; move them to"),
        (classes_in("train", "holdout"), "set: not used: holdout; used: train"),
        (classes_in("train") | {"val": 0}, "set: not used: val; used: train"),
        (classes_in("train") | {"val/images": 2}, "set/val/images holds 2 images without class folders: not used"),
        (classes_in("train") | {"val/x": 1, "val/y": 1}, r"set/val: not used: none of its folders \(x, y\) is a class"),
        (classes_in("amazon/images", "dslr/images"), r"set: amazon, dslr hold only folders, the same in each \(cat"),
        (classes_in("images") | {"parts": 0, "attributes": 0}, "set: using images, the only folder in it with images"),
        (classes_in("a", "b"), r"set: a, b hold only folders, the same in each \(cat, dog, owl\): if they are splits"),
        (
            {f"{name}/{split}": 1 for name in CLASSES for split in ("train", "test")},
            "set: the splits inside of cat, dog, owl are not used; put them outside: test/cat",
        ),
    ],
    ids=str,
)
def test_what_is_not_used_or_looks_wrong_is_told_in_one_line(make: Make, counts: dict[str, int], note: str) -> None:
    notes = find_layout(make(counts)).notes
    assert len(notes) == 1
    assert re.match(note, notes[0]), notes


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train": 2, "test": 2}, "set/train holds 2 images but no class folders: move them to set/train/<class>$"),
        ({"train": 2, **classes_in("test")}, "set/train holds 2 images but no class folders"),
        ({"images/train": 2, "images/val": 2}, "set/images/train holds 2 images but no class folders"),
        (classes_in("test") | {"cat": 1, "dog": 1}, r"set/test holds class folders \(cat, dog\), and set itself too"),
        ({"train/images": 2, "train/labels": 0, "valid/images": 1}, "set/train/images holds 2 images but no class"),
        ({"images": 2, "labels": 0}, "set/images holds 2 images but no class folders"),
        (
            classes_in("fold_1/train", "fold_1/val", "fold_2/train"),
            r"set/fold_1 holds splits \(train, val\): give that",
        ),
        (classes_in("A/A/train", "A/A/valid") | {"test/test": 1}, r"set/A/A holds splits \(train, valid\): give that"),
        (classes_in("train", "test", "test2"), r"several folders for the same split \(test, test2\)"),
        (classes_in("train", "Train"), r"several folders for the same split \(Train, train\)"),
        (classes_in("trainval", "test"), "test, trainval hold only folders, the same in each"),
        (classes_in("set/train", "set/test") | {"extra": 2}, r"set/set holds splits \(test, train\): give that folder"),
        ({".": 2}, "set holds 2 images but no class folders: move them to set/<class>; to label them .* use predict"),
        ({"only": 2}, "set has a single class folder, 'only'"),
        ({}, "set is empty"),
    ],
    ids=str,
)
def test_splits_are_never_trained_on_as_classes(make: Make, counts: dict[str, int], message: str) -> None:
    Path("set").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=message) as caught:
        image_folder(make(counts)).setup("fit")
    assert len(str(caught.value)) < 170


def test_a_model_with_classes_of_such_names_keeps_them(make: Make) -> None:
    root = make(classes_in("Training", "Testing"))
    assert find_layout(root, ["Training", "Testing"]).folders == {"all": root}
    assert find_layout(root, ["cat", "dog", "owl", "Training"]).folders.keys() == {"train", "test"}


def test_the_only_folder_is_a_class_where_the_model_has_it(make: Make) -> None:
    root = make({"cat/young": 1, "cat/old": 1})
    assert find_layout(root, ["cat", "dog"]).folders == {"all": root}
    assert find_layout(root).folders == {"all": root / "cat"}


def test_file_names_that_begin_with_a_class_are_used_as_advice(make: Make) -> None:
    root = make({})
    (root / "train").mkdir(parents=True)
    for name in ("cat.0", "cat.1", "dog.0", "dog.1", "img_1", "img_2"):
        Image.new("L", (1, 1)).save(root / "train" / f"{name}.jpg")
    with pytest.raises(UserError, match=r"move them to set/train/<class>, such as cat, dog$"):
        find_layout(root)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photo", r"there is no folder photo in .*, did you mean 'photos'\?$"),
        ("other", r"there is no folder other in .*; give a folder that holds one folder of images per class"),
        ("photos\\cats", "there is no folder photos.cats, but photos/cats: use forward slashes$"),
        ("cats.tar.gz", "cats.tar.gz is an archive: unpack it, and give the folder$"),
        ("labels.csv", "labels.csv is a file: give a folder"),
        ("packed", "packed holds cats.zip: unpack it, and give the folder$"),
    ],
)
def test_a_data_folder_that_is_none_is_explained(make: Make, name: str, message: str) -> None:
    make({})
    for folder in ("photos/cats", "packed"):
        Path(folder).mkdir(parents=True)
    for file in ("cats.tar.gz", "labels.csv", "packed/cats.zip"):
        Path(file).touch()
    with pytest.raises(UserError, match=message):
        image_folder(Path(name)).setup("fit")


def test_names_that_look_the_same_are_found() -> None:
    names = ["Cat", "cat", "dog ", "dog", "owl", "caf\u00e9", "cafe\u0301"]
    assert similar_names(names) == [("Cat", "cat"), ("dog ", "dog"), ("caf\u00e9", "cafe\u0301")]
