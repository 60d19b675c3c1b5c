"""A folder named for an evaluation is evaluated whole, unless the model was trained on it; ways out of a stop."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from lit_cnn.cli.main import main
from tests.conftest import write_pictures

SMALL = [
    "--img-size=8",
    "--model.backbone=convnet_pooled",
    "--model.backbone_args={widths: [4], dilations: [1]}",
    "-b=4",
]
QUIET = "--trainer.enable_progress_bar=false"


def _photos(root: Path, count: int) -> None:
    for seed, name in enumerate(("cat", "dog")):
        write_pictures(root / name, count, seed + count, size=8)


def _images(shown: str) -> int:
    return int(re.search(r"(?:test|val): (\d+) images", shown)[1])


def test_other_class_folders_are_evaluated_whole_and_those_of_the_training_are_not(workdir, capsys):
    _photos(workdir / "photos", 10)
    _photos(workdir / "others", 7)
    main(["fit", "--data=photos", *SMALL, "--epochs=1", QUIET])
    capsys.readouterr()
    for command, held_out in (("test", 4), ("validate", 2)):
        main([command, "--ckpt_path=best", "--data-dir=others", QUIET])
        shown = capsys.readouterr().out
        assert _images(shown) == 14
        assert "all 14 images are the" in shown
        main([command, "--ckpt_path=best", "--data-dir=photos", QUIET])
        assert _images(capsys.readouterr().out) == held_out
    shutil.copytree("photos", "copied")
    main(["test", "--ckpt_path=best", "--data-dir=copied", QUIET])  # the same images: some of them were trained on
    assert _images(capsys.readouterr().out) == 4
    main(["test", "--ckpt_path=best", "--data-dir=others", "--data.test_fraction=0.5", QUIET])
    assert _images(capsys.readouterr().out) == 8


@pytest.mark.slow
@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize("position", ["first", "later"])
def test_the_printed_advice_leads_out_of_a_bad_picture(remove, position, workdir, capsys):
    _photos(workdir / "photos", 10)
    bad = sorted((workdir / "photos").rglob("*.png"))
    bad = [path for path in bad if path.parent.name == "cat"] if position == "first" else bad[4:5]
    if position == "first":
        bad = bad[:4]
    for path in bad:
        path.write_bytes(path.read_bytes()[:60])
    words = ["fit", "--data=photos", *SMALL, "--epochs=1", QUIET]
    for _ in range(4):
        try:
            main(words)
            break
        except SystemExit:
            shown = "".join(capsys.readouterr())
        advised = re.findall(r"resume with: lit-cnn (fit --resume .*)", shown)
        assert len(advised) <= 1
        assert "start again" not in shown
        assert "--data.on_bad_image skip" in shown
        if remove:
            for path in bad:
                path.unlink(missing_ok=True)
        words = (
            shlex.split(advised[0]) if advised else [*words, "--resume", *["--data.on_bad_image=skip"] * (not remove)]
        )
    assert Path("lightning_logs/version_0/checkpoints/best.ckpt").is_file()


def test_a_resume_with_nothing_to_resume_starts_where_the_data_are_named(workdir, capsys):
    _photos(workdir / "photos", 10)
    main(["fit", "--data=photos", *SMALL, "--epochs=1", "--resume", QUIET])
    shown = capsys.readouterr().out
    assert "nothing to resume: no run under lightning_logs has a checkpoint; this is a new run" in shown
    assert "test it: lit-cnn test" in shown


def test_without_test_images_the_hint_is_validate(workdir, capsys):
    for part in ("train", "val"):
        _photos(workdir / "photos" / part, 5)
    main(["fit", "--data=photos", *SMALL, "--epochs=1", QUIET])
    assert "validate it: lit-cnn validate" in capsys.readouterr().out


@pytest.mark.parametrize("data", ["Flowers", "Vehicles"])
@pytest.mark.parametrize("folder", ["test", "val", "Train"])
def test_flowers_and_vehicles_take_one_split_folder_alone(data, folder, workdir):
    from lit_cnn.data.registry import find_dataset

    for seed, name in enumerate(("daisy", "roses")):
        write_pictures(workdir / "set" / folder / name, 4, seed, size=8)
    splits = find_dataset(data)(data_dir=str(workdir / "set")).splits()
    assert sum(len(split.indices) for split in splits.values()) == 8
    assert set(splits) == ({"train", "val"} if folder == "Train" else {folder})
