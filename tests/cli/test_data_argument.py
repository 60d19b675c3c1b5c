"""Which images a command line names."""

from __future__ import annotations

import pytest

from lit_cnn.errors import UserError

from .answers import read

FOLDER = [("--data", "ImageFolder"), ("--data.data_dir", "photos")]


@pytest.fixture(autouse=True)
def _folders(workdir):
    for name in ("photos/cat", "Digits/cat", "mnist/cat"):
        (workdir / name).mkdir(parents=True)
    (workdir / "photos.zip").touch()


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["fit", "photos"], FOLDER),
        (["fit", "--data", "photos"], FOLDER),
        (["fit", "--data-dir", "photos"], FOLDER),
        (["fit", "photos", "--data-dir", "photos"], [*FOLDER, FOLDER[1]]),
        (["fit", "./photos"], [("--data", "ImageFolder"), ("--data.data_dir", "./photos")]),
        (["prepare", "photos"], FOLDER),
        (["validate", "photos"], FOLDER),
        (["test", "--data", "photos"], FOLDER),
        (["fit", "Digits"], [("--data", "Digits")]),  # a data set wins over a folder of its name
        (["fit", "mnist"], [("--data", "ImageFolder"), ("--data.data_dir", "mnist")]),  # but not in another spelling
        (["fit", "--data", "cifar-10"], [("--data", "CIFAR10")]),
        (["fit", "--dataset", "fashion_mnist"], [("--data", "FashionMNIST")]),
        (["fit", "--data", "image_folder", "--data-dir", "photos"], FOLDER),
        (["fit", "--data", "Stream", "--data-dir", "photos"], [("--data", "Stream"), ("--data.data_dir", "photos")]),
    ],
    ids=lambda item: " ".join(item) if isinstance(item[0], str) else "",
)
def test_a_folder_or_a_data_set_is_found(words, flags):
    assert read(words).flags == flags


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "nowhere"], "unknown data set 'nowhere', and there is no such folder"),
        (["fit", "./nowhere"], "--data ./nowhere: there is no such folder"),
        (["fit", "--data-dir", "nowhere"], "--data-dir nowhere: there is no such folder"),
        (["fit", "photos", "--data-dir", "mnist"], "both name a folder"),
        (["fit", "photos.zip"], "photos.zip is a file: unpack it"),
        (["fit", "resnet18"], "resnet18 is a model.*--model.backbone resnet18"),
        (["fit", "--data", "CIFAR1"], "did you mean 'CIFAR10'?"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_what_is_neither_gets_one_line(words, message):
    with pytest.raises(UserError, match=message) as error:
        read(words)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("config", "words", "data"),
    [
        ("data: photos", [], {"class_path": "ImageFolder", "init_args": {"data_dir": "photos"}}),
        ("data: ./photos\nbatch_size: 8", [], {"class_path": "ImageFolder", "init_args": {"data_dir": "./photos",
                                                                                         "batch_size": 8}}),
        ("data: digits", [], "Digits"),
        ("data: {class_path: cifar10}", [], {"class_path": "CIFAR10"}),
        ("data: {class_path: CIFAR10, batch_size: 8}", [], {"class_path": "CIFAR10", "init_args": {"batch_size": 8}}),
        ("data: {batch_size: 8}", ["--data", "Digits"], {"class_path": "Digits", "init_args": {"batch_size": 8}}),
        ("batch_size: 8", ["photos"], {"class_path": "ImageFolder", "init_args": {"batch_size": 8}}),
        ("data_dir: photos", [], {"class_path": "ImageFolder", "init_args": {"data_dir": "photos"}}),
        ("data: CIFAR10", ["--data-dir", "photos"], "CIFAR10"),  # the folder of that data set
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "" if isinstance(item, dict) else item,
)  # fmt: skip
def test_a_config_names_images_as_flags_do(config, words, data, workdir):
    (workdir / "c.yaml").write_text(config)
    arguments = read(["fit", "--config", "c.yaml", *words])
    assert arguments.contents["c.yaml"]["data"] == data


@pytest.mark.parametrize("name", ["crop_scale", "transform", "transform_args"])
def test_null_turns_an_optional_augmentation_off(name):
    words = ["fit", "photos", "--data.augment.flip", "0.25", f"--data.augment.{name}", "null"]
    assert ("--data.augment", f'{{"{name}": null}}') in read(words).flags


def test_null_turns_all_augmentation_off():
    flags = dict(read(["fit", "photos", "--no-augment"]).flags)
    assert '"crop_scale": null' in flags["--data.augment"]
    assert '"flip": 0.0' in flags["--data.augment"]
