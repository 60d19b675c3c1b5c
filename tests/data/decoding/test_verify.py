"""Images that cannot be read: found before training, named or skipped, verdicts cached."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lit_cnn.data.decoding import decode, verify
from lit_cnn.errors import UserError
from lit_cnn.utils.console import Display
from tests.data.helpers import all_names, image_folder

Make = Callable[..., Path]


def test_broken_images_end_the_run_with_their_name_or_are_skipped_counted_and_listed(
    make_folder: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder({"train/cat": 6, "train/dog": 6, "test/cat": 2, "test/dog": 2})
    good = (root / "train" / "cat" / "000.png").read_bytes()
    (root / "train" / "cat" / "bad1.png").write_bytes(good[: len(good) // 2])
    (root / "train" / "dog" / "bad 2.jpg").write_bytes(b"")
    strict = image_folder(root, val_fraction=0.2)
    with pytest.raises(UserError, match=r"bad( 2)?1?\.(png|jpg): "):
        list(strict.train_dataloader())
    skipping = image_folder(root, val_fraction=0.2, on_bad_image="skip")
    skipping.setup("fit")
    warning = capsys.readouterr().err
    assert "skipped 2 of 18 images" in warning
    assert "train/cat/bad1.png (" in warning
    assert "train/dog/bad 2.jpg (it is empty" in warning
    assert sum(len(batch.target) for batch in skipping.train_dataloader()) == 10
    clean_root = root.parent / "clean"
    shutil.copytree(root, clean_root, ignore=shutil.ignore_patterns("bad*"))
    clean = image_folder(clean_root, val_fraction=0.2)
    assert clean.fingerprint() == skipping.fingerprint()
    for a, b in zip(clean.train_dataloader(), skipping.train_dataloader(), strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.target, b.target)


def test_verdicts_are_kept_until_a_file_changes(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder({"cat": 5, "dog": 5})
    bad = root / "cat" / "bad.png"
    bad.write_bytes(b"no picture")
    checked: list[str] = []
    check = verify.check_image

    def spy(path: Path, max_pixels: int) -> tuple[str | None, bool]:
        checked.append(Path(path).name)
        return check(path, max_pixels)

    monkeypatch.setattr(verify, "check_image", spy)
    image_folder(root, on_bad_image="skip").setup("fit")
    assert len(checked) == 11
    checked.clear()
    image_folder(root, on_bad_image="skip").setup("fit")
    assert checked == []
    shutil.copy(root / "cat" / "000.png", bad)
    capsys.readouterr()
    image_folder(root, on_bad_image="skip").setup("fit")
    assert checked == ["bad.png"]
    assert not capsys.readouterr().err
    checked.clear()
    cache = next(verify.cache_folder().rglob("*.json"))
    cache.write_text(cache.read_text()[:50])  # a torn cache is worth nothing and does no harm
    image_folder(root, on_bad_image="skip").setup("fit")
    assert len(checked) == 11


def test_a_cache_folder_that_cannot_be_written_does_no_harm(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIT_CNN_CACHE", str(tmp_path / "file" / "cache"))
    root = make_folder({"cat": 3, "dog": 3})
    (root / "cat" / "bad.png").write_bytes(b"")
    data = image_folder(root, on_bad_image="skip")
    data.setup("fit")
    assert len(all_names(data)) == 6


def test_an_image_that_could_not_be_opened_is_checked_again(make_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    real = decode._decode_fully

    def forbidden(path: Path, *args: object) -> None:
        if path.name == "001.png" and path.parent.name == "cat":
            raise PermissionError(13, "Permission denied")
        real(path, *args)

    monkeypatch.setattr(decode, "_decode_fully", forbidden)
    assert image_folder(root).broken == {"cat/001.png": "no permission to read it"}
    monkeypatch.setattr(decode, "_decode_fully", real)
    assert image_folder(root).broken == {}


def test_a_long_scan_shows_a_bar_on_a_terminal_and_nothing_elsewhere(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 9})
    (root / "cat" / "004.png").write_bytes(b"")
    clock = itertools.count()
    monkeypatch.setattr(verify.time, "monotonic", lambda: float(next(clock)))
    names = sorted(f"cat/{path.name}" for path in (root / "cat").iterdir())
    for terminal in (True, False):
        shutil.rmtree(verify.cache_folder(), ignore_errors=True)
        out = io.StringIO()
        display = Display(Console(file=out, force_terminal=terminal, width=100, color_system=None))
        verify.find_broken(root, names, 10**6, 2, display)
        if terminal:
            assert "checking images" in out.getvalue()
            assert "9/9 1 cannot be read" in out.getvalue()
            assert out.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back, the bar gone
        else:
            assert out.getvalue() == ""


def test_broken_images_are_searched_before_other_ranks_start(make_folder: Make) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    image_folder(root).prepare_data()
    assert not list(verify.cache_folder().rglob("*.json"))
    image_folder(root, on_bad_image="skip").prepare_data()
    assert len(list(verify.cache_folder().rglob("*.json"))) == 1
