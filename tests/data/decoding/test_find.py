"""Image files are found by their names, and everything else is counted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lit_cnn.data import Images
from lit_cnn.data.decoding.find import LeftOut, find_image_files
from lit_cnn.data.decoding.formats import EXTENSIONS
from lit_cnn.errors import UserError
from tests.data.helpers import all_names, image_folder

Make = Callable[..., Path]


@pytest.mark.parametrize(
    "name", ["cat/a.jpg", "b.JFIF", "c.jpe", "d.pjpeg", "e.ppm", "f.pgm", "g.apng", "h.dib", "i.mpo"]
)
def test_images_are_found_by_their_extension_in_any_case(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    left_out = LeftOut()
    assert list(find_image_files(tmp_path, left_out)) == [name]
    assert not left_out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.psd", "1 .psd (a.psd: convert to jpg or png)"),
        ("deep/a.XCF", "1 .xcf (deep/a.XCF: convert to jpg or png)"),
        ("a.dng", "1 .dng (a.dng: convert to jpg or png)"),
        ("a.tga", "1 .tga (a.tga: convert to jpg or png)"),
        ("a.txt", "1 .txt (a.txt)"),
        ("0001", "1 without extension (0001)"),
        ("a.jpg.part", "1 .part (a.jpg.part)"),
        (f"{'n' * 90}.csv", f"1 .csv (...{'n' * 36}.csv)"),
    ],
)
def test_other_files_are_counted_by_extension_with_an_example(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    left_out = LeftOut()
    assert not list(find_image_files(tmp_path, left_out))
    assert str(left_out) == text


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._a.jpg", ".cache/a.jpg", ".hidden.txt"])
def test_hidden_files_and_those_of_systems_are_passed_over_silently(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    left_out = LeftOut()
    assert not list(find_image_files(tmp_path, left_out))
    assert not left_out


@pytest.mark.parametrize(("name", "text"), [("photo", "JPEG without extension"), ("a.dat", "JPEG called .dat")])
def test_an_image_of_another_name_is_counted_as_one(tmp_path: Path, name: str, text: str) -> None:
    Image.new("L", (2, 2)).save(tmp_path / name, "JPEG")
    left_out = LeftOut()
    assert not list(find_image_files(tmp_path, left_out))
    assert str(left_out) == f"1 {text} ({name}: rename it)"


def test_links_that_are_not_followed_are_counted(tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "itself").symlink_to("itself")
    left_out = LeftOut()
    assert not list(find_image_files(tmp_path, left_out))
    assert left_out.count == 3
    assert "2 dead links" in str(left_out)
    assert "1 link to a folder (up)" in str(left_out)


def test_many_kinds_stay_one_line(tmp_path: Path) -> None:
    left_out = LeftOut()
    for number in range(50):
        for _ in range(number + 1):
            left_out.add(f".k{number}", "x")
    assert left_out.count == 1275
    assert str(left_out).startswith("50 .k49 (x), 49 .k48 (x), 48 .k47 (x), 47 .k46, ")
    assert str(left_out).endswith(", 903 others")


def test_a_data_set_says_what_it_leaves_out_once(make_folder: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder({"cat": 5, "dog": 5})
    Image.new("L", (2, 2)).save(root / "beside.png")
    for name in ("labels.csv", "cat/a.psd", "cat/b.psd", ".DS_Store", "dog/Thumbs.db"):
        (root / name).touch()
    (root / "emu").symlink_to("nowhere")
    data = image_folder(root)
    data.setup("fit")
    data.setup("test")
    assert len(all_names(data)) == 10
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith(f"{root}: left out 2 .psd (cat/a.psd: convert to jpg or png), ")
    for part in ("1 .png beside the class folders (beside.png)", "1 dead link", "1 .csv"):
        assert part in line


def test_prediction_says_what_it_leaves_out(make_folder: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder({"cat": 2})
    (root / "a.psd").touch()
    assert len(Images(paths=[str(root)]).all_paths()[1]) == 2
    assert "left out 1 .psd (a.psd: convert to jpg or png)" in capsys.readouterr().err
    (root / "only").mkdir()
    (root / "only" / "a.psd").touch()
    with pytest.raises(UserError, match=r"no images .* in folder .*only, only 1 .psd \(a.psd: convert to jpg"):
        Images(paths=[str(root / "only")]).all_paths()


def test_kinds_that_were_read_before_come_first() -> None:
    assert EXTENSIONS[:8] == (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_with_the_name_of_an_image_is_left_out_and_a_link_to_an_image_is_not(tmp_path: Path) -> None:
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe.png")
    left_out = LeftOut()
    assert sorted(find_image_files(tmp_path, left_out)) == ["a.png", "b.png"]
    assert str(left_out).startswith("2 special files (")
    with pytest.raises(UserError, match=r"pipe.png is a pipe, socket or device: give image files or folders$"):
        Images([str(tmp_path / "pipe.png")], class_names=["a", "b"]).setup("predict")
