"""The table before training."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lit_cnn.cli.main import main
from tests.cli.helpers import QUIET


@pytest.fixture
def photos(workdir: Path) -> Path:
    """Twenty grey images of two classes, one with a name that rich would read as markup."""
    for name in ("[red]cat", "dog"):
        (workdir / "photos" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (20, 20), 12 * number + 60 * (name == "dog")).save(
                workdir / "photos" / name / f"{number}.png"
            )
    return workdir / "photos"


def test_says_what_is_trained_on_what(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", str(photos), "--epochs=1", "--model.backbone=lenet", QUIET])
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "[red]cat 7 1 2" in lines
    assert "2 classes 14 2 4" in lines
    assert any(line.startswith("network: lenet, ") and line.endswith("starts from random weights") for line in lines)
    assert any(line.startswith("device: CPU, ") for line in lines)
    assert "note: 2 validation images: one more that is right is 50.0 points of val/acc" in out


def test_a_resumed_run_does_not_say_it_again(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", str(photos), "--epochs=1", "--model.backbone=lenet", QUIET])
    capsys.readouterr()
    main(["fit", "--resume", "--epochs=2", QUIET])
    assert "network:" not in capsys.readouterr().out


def test_many_classes_are_shown_by_the_largest_and_the_smallest(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        (workdir / "many" / f"class{number:02}").mkdir(parents=True)
        for image in range(10 + number):
            Image.new("L", (20, 20), 5 * image).save(workdir / "many" / f"class{number:02}" / f"{image}.png")
    main(["fit", "many", "--epochs=1", "--model.backbone=lenet", QUIET])
    out = capsys.readouterr().out
    shown = [line.split()[0] for line in out.splitlines() if line.startswith("class")]
    assert shown == ["class19", "class18", "class17", "class02", "class01", "class00"]
    assert "… 14 more classes" in out


def test_two_ways_to_weigh_rare_classes_at_once_are_noted(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--data.sampling=balanced", "--model.class_weights=balanced"]
    main(["fit", str(photos), "--epochs=1", *both, "--trainer.limit_train_batches=1"])
    assert "both make rare classes count more" in " ".join(capsys.readouterr().out.split())
    main(["fit", str(photos), "--epochs=1", both[0], "--trainer.limit_train_batches=1"])
    assert "both make rare classes count more" not in " ".join(capsys.readouterr().out.split())
