"""Ignore lists: what they name is left out, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lit_cnn.data import Digits
from lit_cnn.errors import UserError

from ..helpers import image_folder, sample_names

Make = Callable[..., Path]


def test_ignored_files_are_as_if_they_were_not_there(make_folder: Make, tmp_path: Path, capsys) -> None:
    root = make_folder({"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2})
    listed = tmp_path / "ignore.txt"
    listed.write_text("# duplicates\n\ntrain/cat/001.png\n./test/dog/000.png\ntrain/cat/gone.png\n")
    data, before = image_folder(root, ignore=str(listed), val_fraction=0), image_folder(root, val_fraction=0)
    assert sample_names(data, "train") == [n for n in sample_names(before, "train") if n != "train/cat/001.png"]
    assert sample_names(data, "test") == ["test/cat/000.png", "test/cat/001.png", "test/dog/001.png"]
    assert data.fingerprint() != before.fingerprint()  # so that a resume notices
    assert "names images that are not there: train/cat/gone.png" in capsys.readouterr().err


def test_images_in_memory_are_ignored_by_name(tmp_path: Path) -> None:
    before = Digits().splits()
    first = before["train"].source.name(int(before["train"].indices[0]))
    (tmp_path / "ignore.txt").write_text(first + "\n")
    after = Digits(ignore=str(tmp_path / "ignore.txt")).splits()
    assert after["train"].indices.tolist() == before["train"].indices.tolist()[1:]
    assert after["test"].indices.tolist() == before["test"].indices.tolist()


def test_a_missing_list_is_named(make_folder: Make) -> None:
    with pytest.raises(UserError, match=r"no ignore list none.txt: name a text file with `data.ignore=FILE`"):
        image_folder(make_folder({"cat": 3, "dog": 3}), ignore="none.txt").splits()
