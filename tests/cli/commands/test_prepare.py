"""``lit-cnn prepare`` reads every image, and says what it leaves out."""

from __future__ import annotations

import shutil

import pytest

from lit_cnn.cli.main import main
from tests.conftest import write_pictures


def _prepare(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    main(["prepare", "--data=ImageFolder", "--data-dir=set", *words])
    return capsys.readouterr()


def test_the_count_names_several_kinds_and_what_is_left_out(workdir, capsys):
    for seed, name in enumerate(("cat", "dog")):
        write_pictures(workdir / "set" / name, 5, seed, size=8)
    out, err = _prepare(capsys)
    assert out.endswith("all 10 images can be read\n")
    assert not err
    for name in ("a.jfif", "b.jpe", "c.JPG"):
        shutil.copy(workdir / "set" / "cat" / "00.jpg", workdir / "set" / "cat" / name)
    (workdir / "set" / "dog" / "a.psd").touch()
    (workdir / "set" / "labels.csv").touch()
    out, err = _prepare(capsys, "--data.on_leak=off")  # the copies are equal files
    assert out.endswith("all 13 images can be read: 11 jpg, 1 jfif, 1 jpe; 2 other files are left out, see above\n")
    assert err == "set: left out 1 .psd (dog/a.psd: convert to jpg or png), 1 .csv (labels.csv)\n"


@pytest.mark.parametrize("data", ["--data=ImageFolder --data-dir=set", "--data=Digits --img-size=8"])
def test_a_data_set_without_test_and_validation_images_can_be_counted(data, workdir, capsys):
    for name in ("cat", "dog"):
        write_pictures(workdir / "set" / name, 3, size=8)
    main(["prepare", *data.split(), "--data.test_fraction=0", "--data.val_fraction=0"])
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["class", "train"]
