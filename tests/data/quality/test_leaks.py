"""Test photos that are training photos, too: found, named, and dropped from training alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lit_cnn.data import Flowers, Vehicles
from lit_cnn.data.quality import leaks
from lit_cnn.errors import UserError

from ..helpers import image_folder, pixels, sample_names

Make = Callable[..., Path]


@pytest.fixture
def leaking(make_folder: Make) -> Path:
    """Return a folder whose first test photo is a training photo, and whose validation has another one."""
    root = make_folder({"train/cat": 6, "train/dog": 6, "val/cat": 2, "val/dog": 2, "test/cat": 2, "test/dog": 2})
    shutil.copy(root / "train/cat/004.png", root / "test/cat/000.png")
    shutil.copy(root / "train/dog/002.png", root / "val/dog/001.png")
    return root


def test_a_leak_is_one_line_that_names_the_files_and_the_setting(leaking: Path, capsys: pytest.CaptureFixture) -> None:
    data = image_folder(leaking)
    assert len(sample_names(data, "train")) == 12
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "1 of 4 test photos and 1 of 4 val photos are training photos, too" in line
    assert "test/cat/000.png = train/cat/004.png" in line or "val/dog/001.png = train/dog/002.png" in line
    assert "on_leak=drop" in line or "--data.on_leak drop" in line


def test_drop_leaves_them_out_of_training_alone_and_keeps_the_fingerprint(leaking: Path) -> None:
    warned, dropped = image_folder(leaking), image_folder(leaking, on_leak="drop")
    gone = set(sample_names(warned, "train")) - set(sample_names(dropped, "train"))
    assert gone == {"train/cat/004.png", "train/dog/002.png"}
    for split in ("val", "test"):
        assert sample_names(warned, split) == sample_names(dropped, split)
    assert warned.fingerprint() == dropped.fingerprint()
    before, after = (each.splits()["train"].indices.tolist() for each in (warned, dropped))
    assert len(after) == 10
    assert set(after) < set(before)  # the same numbers, so that the same draws augment them


def test_error_refuses_and_another_word_is_refused(leaking: Path) -> None:
    with pytest.raises(UserError, match=r"test/cat/000.png|val/dog/001.png"):
        image_folder(leaking, on_leak="error").splits()
    with pytest.raises(UserError, match=r"`data.on_leak` is 'skip': choose off, error, warn or drop"):
        image_folder(leaking, on_leak="skip")


def test_only_files_of_equal_size_are_read(leaking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    real = leaks._end
    monkeypatch.setattr(leaks, "_end", lambda path: (opened.append(path), real(path))[1])
    image_folder(leaking).splits()
    sizes = {path: path.stat().st_size for path in leaking.rglob("*.png")}
    train = {size for path, size in sizes.items() if "train" in path.parts}
    others = {size for path, size in sizes.items() if "train" not in path.parts}
    assert opened
    assert {sizes[path] for path in opened} <= train & others


def test_files_of_equal_size_and_other_content_are_no_leak(tmp_path: Path) -> None:
    for name, content in {"a": b"x" * 9000, "b": b"y" + b"x" * 8999, "c": b"x" * 9000}.items():
        (tmp_path / name).write_bytes(content)
    assert leaks.equal_files(tmp_path, ["a"], ["b", "c"]) == [("c", "a")]
    assert leaks.equal_files(tmp_path, ["a"], ["b", "c"], most=2) == []


def test_known_pairs_of_the_vehicles_are_dropped_where_they_look_alike(tmp_path: Path) -> None:
    for name in ("car", "motorcycle"):
        (tmp_path / name).mkdir()
        for i in range(1, 26):
            Image.fromarray(pixels(i + 100 * len(name))).save(tmp_path / name / f"{name}_{i}.jpg")
    folder = tmp_path / "motorcycle"
    shutil.copy(folder / "motorcycle_17.jpg", folder / "motorcycle_7.jpg")
    Image.open(folder / "motorcycle_7.jpg").point(lambda value: value * 0.9).save(folder / "motorcycle_7.jpg")
    kept, dropped = Vehicles(data_dir=str(tmp_path)), Vehicles(data_dir=str(tmp_path), on_leak="drop")
    assert "motorcycle/motorcycle_7.jpg" in sample_names(kept, "test")  # the tail of the sorted names
    gone = set(sample_names(kept, "train")) - set(sample_names(dropped, "train"))
    assert gone == {"motorcycle/motorcycle_17.jpg"}  # 5 and 20 show different photos here


def test_the_lists_name_what_is_known() -> None:
    assert {(pair.file, pair.other) for pair in leaks.known_pairs("vehicles")} == {
        ("motorcycle/motorcycle_17.jpg", "motorcycle/motorcycle_7.jpg"),
        ("motorcycle/motorcycle_20.jpg", "motorcycle/motorcycle_5.jpg"),
    }
    names = [name for pair in leaks.known_pairs("flowers") for name in (pair.file, pair.other)]
    assert len(set(names)) == 8
    assert {name.partition("/")[0] for name in names} <= set(Flowers.CLASSES)
