"""What a folder of images holds, by the headers of some."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lit_cnn.data import ImageFolder
from lit_cnn.data import summary as module
from lit_cnn.data.summary import class_counts, summarize


def write(root: Path, mode: str, size: tuple[int, int], count: int = 10) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new(mode, size, number).save(root / name / f"{number}.png")
    return root


def test_counts_sides_and_colours(tmp_path: Path) -> None:
    found = summarize(ImageFolder(data_dir=str(write(tmp_path, "RGB", (50, 40)))))
    assert found == module.Summary(images=20, train=14, classes=2, side=40, grey=False)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_images_without_colours_are_grey(tmp_path: Path, mode: str) -> None:
    assert summarize(ImageFolder(data_dir=str(write(tmp_path, mode, (9, 9))))).grey


def test_one_image_with_colours_is_enough(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(write(tmp_path, "L", (9, 9)) / "cat" / "0.png")
    assert not summarize(ImageFolder(data_dir=str(tmp_path))).grey


def test_a_broken_image_does_not_matter(tmp_path: Path) -> None:
    (write(tmp_path, "L", (9, 9)) / "cat" / "0.png").write_bytes(b"no image")
    assert summarize(ImageFolder(data_dir=str(tmp_path))).side == 9


def test_class_counts_add_up_to_the_files(tmp_path: Path) -> None:
    counts = class_counts(ImageFolder(data_dir=str(write(tmp_path, "L", (9, 9)))))
    assert counts == {"train": [7, 7], "val": [1, 1], "test": [2, 2]}
