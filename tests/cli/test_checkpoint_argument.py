"""A checkpoint finds its data folder from another working folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lit_cnn.checkpoint.record import KEY, CheckpointRecord, absolute_data_dir
from lit_cnn.cli.argv import parse
from lit_cnn.cli.checkpoint_argument import find_data_dir, take_folder_to_predict
from lit_cnn.cli.main import main
from tests.conftest import load, write_pictures

SMALL = [
    "--img-size=8",
    "--model.backbone=convnet_pooled",
    "--model.backbone_args={widths: [4], dilations: [1]}",
    "-b=8",
]
QUIET = "--trainer.enable_progress_bar=false"


def _found(run: Path, data_dir: str, absolute: str = "") -> str:
    record = CheckpointRecord(run / "checkpoints" / "best.ckpt", {}, [], {}, "", {}, True, False, [], 1, 1, absolute)
    base = {"data": {"init_args": {"data_dir": data_dir}}}
    find_data_dir(record, base)
    return base["data"]["init_args"]["data_dir"]


def test_a_relative_data_folder_is_looked_for_here_then_where_it_was_then_beside_the_run(workdir, monkeypatch, capsys):
    run = workdir / "moved" / "lightning_logs" / "version_0"
    for folder in ("here/photos", "a/photos", "moved/photos", "empty"):
        (workdir / folder).mkdir(parents=True)
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "best.ckpt").touch()
    monkeypatch.chdir(workdir / "here")
    assert _found(run, "photos", f"{workdir}/a/photos") == "photos"
    assert not capsys.readouterr().out
    monkeypatch.chdir(workdir / "empty")
    assert _found(run, "photos", f"{workdir}/a/photos") == f"{workdir}/a/photos"
    line = f"data: {workdir}/a/photos (photos is relative to another working folder)\n"
    assert capsys.readouterr().out == line
    assert _found(run, "photos", f"{workdir}/gone/photos") == f"{workdir}/moved/photos"
    assert _found(run, "photos") == f"{workdir}/moved/photos"
    for other in ("nowhere", "/nowhere", "https://host/shards"):
        assert _found(run, other) == other


def test_the_absolute_path_is_stored_but_not_that_of_an_address(workdir):
    assert absolute_data_dir({"data": {"init_args": {"data_dir": "../photos"}}}) == str(workdir.parent / "photos")
    assert absolute_data_dir({"data": {"init_args": {"data_dir": "gs://host/shards"}}}) == ""
    assert absolute_data_dir({"data": {}}) == ""


@pytest.mark.slow
def test_every_command_finds_the_data_from_another_working_folder(workdir, monkeypatch, capsys, fails):
    for seed, name in enumerate(("cat", "dog")):
        write_pictures(workdir / "a" / "photos" / name, 10, seed, size=8)
    (workdir / "b").mkdir()
    monkeypatch.chdir(workdir / "a")
    main(["fit", "--data=ImageFolder", "--data-dir=photos", *SMALL, "--epochs=1", QUIET])
    run = "../a/lightning_logs/version_0"
    stored = load(Path(run, "checkpoints", "last.ckpt"))[KEY]
    assert stored["config"]["data"]["init_args"]["data_dir"] == "photos"
    assert stored["data_dir"] == str(workdir / "a" / "photos")
    monkeypatch.chdir(workdir / "b")
    capsys.readouterr()  # what fit said
    for command in ("test", "validate"):
        main([command, f"--ckpt_path={run}"])
        out = capsys.readouterr().out
        assert f"data: {workdir / 'a' / 'photos'} (photos is relative" in out
        assert "note:" not in out
    main(["fit", f"--resume={run}", "--epochs=2", QUIET])
    assert load(Path(run, "checkpoints", "last.ckpt"))["epoch"] == 1
    shutil.move(workdir / "a" / "photos", workdir / "a" / "gone")
    main(["test", f"--ckpt_path={run}", "--data-dir=../a/gone"])
    shutil.copytree(run, workdir / "c" / "lightning_logs" / "version_0")  # as it was after one epoch, but for its path
    assert "there is no folder" in fails("test", "--ckpt_path=../c/lightning_logs/version_0")


@pytest.mark.parametrize("flag", ["--data", "--data-dir"])
def test_a_folder_to_predict_is_all_its_images(flag, workdir):
    (workdir / "photos").mkdir()
    arguments = parse(["predict", flag, "photos"])
    take_folder_to_predict(arguments)
    assert (arguments.images, arguments.flags) == (["photos"], [])
    named = parse(["predict", flag, "Digits"]) if flag == "--data" else parse(["predict", "--data=CIFAR10", flag, "x"])
    take_folder_to_predict(named)
    assert named.images == []
