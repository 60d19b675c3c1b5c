"""lit-cnn check: what it finds, its page, its ignore list and its exit status."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_cnn.cli.main import main
from lit_cnn.data import ImageFolder


def _photo(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    parts = [Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize((96, 80)) for n in (4, 12, 24)]
    return Image.fromarray(np.mean([np.asarray(part, float) for part in parts], axis=0).astype(np.uint8))


@pytest.fixture
def photos(workdir: Path) -> Path:
    """Return a clean folder with splits."""
    seed = 0
    for split, count in (("train", 9), ("test", 3)):
        for name in ("cat", "dog"):
            folder = workdir / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                seed += 1
                _photo(seed).save(folder / f"{i}.jpg", quality=95)
    return workdir / "photos"


def _check(*words: str) -> int:
    try:
        main(["check", *words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_clean_images_have_status_0(photos, capsys):
    assert _check("photos") == 0
    shown = capsys.readouterr().out
    assert "photos: 24 images" in shown
    assert "24 RGB" in shown
    assert Path("check.html").is_file()


def test_everything_planted_is_found_and_dropped_by_the_ignore_list(photos, capsys):
    train, test = photos / "train", photos / "test"
    Image.open(train / "cat/1.jpg").save(test / "cat/leak.jpg", quality=60)
    shutil.copy(train / "cat/2.jpg", train / "dog/both.jpg")
    shutil.copy(train / "dog/3.jpg", train / "dog/again.jpg")
    Image.open(train / "dog/4.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(train / "dog/mirror.jpg")
    (train / "dog/broken.jpg").write_bytes((train / "dog/0.jpg").read_bytes()[:900])
    _photo(99).resize((300, 20)).save(train / "cat/long.png")
    assert _check("photos", "--write-ignore", "ignore.txt", "--data.val_fraction=0") == 1
    lines = [line for line in Path("ignore.txt").read_text().splitlines() if not line.startswith("#")]
    assert sorted(lines) == sorted(
        ["train/dog/broken.jpg", "train/cat/1.jpg", "train/cat/2.jpg", "train/dog/both.jpg"]
        + [name for name in lines if name in ("train/dog/3.jpg", "train/dog/again.jpg")]
        + [name for name in lines if name in ("train/dog/4.jpg", "train/dog/mirror.jpg")]
    )
    assert len(lines) == 6
    page = Path("check.html").read_text()
    for text in ("long.png", "more than 4 times as long as wide", "the same photo in two splits: 1"):
        assert text in page
    assert page.count("data:image/jpeg;base64,") >= 9
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []  # nothing to fetch
    capsys.readouterr()
    assert _check("photos", "--data.ignore=ignore.txt", "--data.val_fraction=0") == 0
    left = ImageFolder(data_dir="photos", ignore="ignore.txt", val_fraction=0, image_size=8)
    assert len(left.splits()["train"].indices) == 18 + 5 - 6


def test_a_border_that_only_one_class_has_and_a_missing_class_are_named(photos, capsys):
    for path in photos.glob("*/dog/*"):
        image = Image.open(path).convert("RGB")
        image.paste((255, 255, 255), (0, 0, image.width, 8))
        image.save(path, quality=95)
    shutil.rmtree(photos / "test/cat")
    assert _check("photos") == 1
    page = Path("check.html").read_text()
    assert re.search(r"dog: \d+ of 1,024 parts of the picture are the same in almost all images \(top\)", page)
    assert "no images of cat in test" in page


def test_names_with_markup_are_escaped(photos):
    shutil.copy(photos / "train/cat/1.jpg", photos / "train/cat/<b>x.jpg")
    assert _check("photos") == 1
    assert "<b>x" not in Path("check.html").read_text()


def test_a_second_check_reads_no_file_again(photos, monkeypatch):
    from lit_cnn.data.quality import scan

    _check("photos")
    seen: list[str] = []
    real = scan.scan_file
    monkeypatch.setattr(scan, "scan_file", lambda path, limit: (seen.append(path.name), real(path, limit))[1])
    _photo(7).save(photos / "train/cat/1.jpg", quality=70)
    _check("photos")
    assert seen == ["1.jpg"]


def test_a_model_names_labels_that_look_wrong_and_what_to_label(photos, capsys):
    small = [
        "--img-size=8",
        "--model.backbone=convnet_pooled",
        "--model.backbone_args={widths: [4], dilations: [1]}",
        "-b=4",
    ]
    main(["fit", "--data=photos", *small, "--epochs=1", "--trainer.enable_progress_bar=false"])
    _check("photos", "--ckpt_path=best", "--unlabelled=photos/test")
    shown = capsys.readouterr().out
    assert "labels that look wrong" in shown
    assert "worth labelling 1: photos/test" in shown
    assert "most worth labelling" in Path("check.html").read_text()
    Path("photos/test/broken.jpg").write_bytes(b"")
    assert _check("photos", "--data.on_leak=off", "--ckpt_path=best", "--unlabelled=photos/test") == 2
    assert "cannot read image photos/test/broken.jpg" in capsys.readouterr().err


def test_images_in_memory_are_checked(workdir):
    assert _check("Digits") in (0, 1)
    assert "1,797 images" in Path("check.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere/x"], "no such folder"),
        (["photos", "--unlabelled=photos"], "--unlabelled needs a trained model"),
        (["photos", "--page=no/where.html"], "cannot write no/where.html"),
        (["photos", "--epochs=3"], "has no effect on check: leave it out"),
    ],
)
def test_mistakes_have_status_2(words, said, photos, capsys):
    assert _check(*words) == 2
    assert said in capsys.readouterr().err
