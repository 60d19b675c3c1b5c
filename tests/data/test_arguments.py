"""Every set is a subclass argument of the parser behind the command line, by its short name."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser, Namespace

from lit_cnn.data import CIFAR10, Augment, ImageDataModule, ImageFolder, Vehicles

SETS = ("Digits", "MNIST", "FashionMNIST", "CIFAR10", "ImageFolder", "Flowers", "Vehicles", "Images")
COMMON = {
    "data_dir",
    "batch_size",
    "image_size",
    "channels",
    "workers",
    "seed",
    "split_seed",
    "val_fraction",
    "augment",
    "normalize",
    "mean",
    "std",
    "class_names",
}


def _parse(*args: str) -> tuple[Namespace, ImageDataModule]:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(ImageDataModule, "data")
    config = parser.parse_args(list(args))
    return config, parser.instantiate(config).data


@pytest.mark.parametrize("name", SETS)
def test_every_set_shows_all_common_arguments_with_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config, data = _parse("--data", name, "--data.batch_size", "3")
    assert type(data).__name__ == name
    assert data.batch_size == 3
    assert set(vars(config.data.init_args)) >= COMMON
    parser = ArgumentParser()
    parser.add_subclass_arguments(ImageDataModule, "data")
    with pytest.raises(SystemExit):
        parser.parse_args(["--data.help", name])
    text = " ".join(capsys.readouterr().out.split())
    for argument in (*(COMMON - {"augment"}), "augment.flip"):
        # Every argument has a sentence before its type: nothing undocumented.
        after = text.split(f"--data.{argument} ")[-1]
        sentence = after.split("(type:")[0]
        assert len(sentence.split()) > 3, argument


def test_one_operation_of_the_augmentation_can_be_set_and_the_others_stay_the_sets_own() -> None:
    _, data = _parse("--data", "CIFAR10", "--data.augment.flip", "0.25")
    assert data.augment == Augment(crop_padding=4, flip=0.25)
    _, data = _parse("--data", "ImageFolder", "--data.augment.crop_scale", "[0, 0]", "--data.augment.cutout", "4")
    assert data.augment == Augment(flip=0.5, cutout=4)


def test_the_set_can_be_changed_on_top_of_a_config(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "data:\n  class_path: CIFAR10\n  init_args:\n    batch_size: 17\n    image_size: 32\n"
        "    augment:\n      crop_scale: null\n      crop_padding: 4\n      flip: 0.3\n"
    )
    _, data = _parse("--config", str(config))
    assert isinstance(data, CIFAR10)
    _, data = _parse("--config", str(config), "--data", "ImageFolder", "--data.data_dir", "x", "--data.split", "tail")
    assert isinstance(data, ImageFolder)
    assert (data.batch_size, data.image_size, data.data_dir, data.split) == (17, 32, "x", "tail")
    assert data.augment == Augment(crop_padding=4, flip=0.3)


def test_lists_are_given_on_the_command_line() -> None:
    _, data = _parse(
        "--data=Vehicles",
        "--data.mean=[0.5]",
        "--data.std=[0.25]",
        "--data.class_names=[bus, car]",
        "--data.channels=1",
    )
    assert isinstance(data, Vehicles)
    assert (data.mean, data.std) == ([0.5], [0.25])


def test_the_base_class_is_no_set() -> None:
    with pytest.raises(Exception, match="abstract"):
        _parse("--data", "ImageDataModule")
