"""Folders of runs: their names, what they say about the run, and what is left of those that do not start."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from lit_cnn.cli.argv import parse
from lit_cnn.cli.checkpoint_argument import find_record, take_folder_to_predict
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.results.run_state import read_state
from lit_cnn.run_folder import is_locked
from tests.conftest import TINY, write_pictures

LOGS = Path("lightning_logs")


@pytest.fixture
def two_runs(trained, workdir):
    """Runs called baseline and baseline_2."""
    for name in ("baseline", "baseline_2"):
        shutil.copytree(trained, LOGS / name)
    return LOGS


def test_a_named_run_keeps_its_name_and_is_resumed_by_it(workdir, capsys):
    short = [*TINY, "--epochs=1"]
    main(["fit", *short, "--name=baseline"])
    assert "run folder: lightning_logs/baseline\n" in capsys.readouterr().out
    main(["fit", *short, "--name=baseline"])
    assert "run folder: lightning_logs/baseline_2\n" in capsys.readouterr().out
    main(["fit", "--resume=baseline", "--epochs=2"])
    assert "checkpoint: lightning_logs/baseline/checkpoints/last.ckpt (step 10)" in capsys.readouterr().out
    assert sorted(path.name for path in LOGS.iterdir()) == ["baseline", "baseline_2"]
    state = read_state(LOGS / "baseline")
    assert (state["state"], state["epoch"], state["epochs"], state["step"]) == ("finished", 2, 2, 20)
    assert not (LOGS / "baseline" / ".lock_owner").exists()
    assert is_locked(LOGS / "baseline") is False


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--resume=baseline_2"], "baseline_2"),
        (["--resume=baseline"], "baseline"),
        (["--ckpt_path=baseline/best"], "baseline"),
        (["--resume=baseline/previous"], "baseline"),
        (["--resume", "--name=baseline"], "baseline_2"),
        (["--resume=auto", "--name=baseline"], "baseline_2"),
        (["--resume=auto", "--name=other"], None),
        (["--resume=baseline", "--name=baseline"], "baseline"),
    ],
)
def test_the_run_to_resume_is_found_by_name(words, found, two_runs):
    record = find_record(parse(["fit", *words]), Path())
    assert (record and record.path.parent.parent.name) == found
    name = words[0].rpartition("/")[2]
    assert record is None or record.path.stem == (name if name in ("best", "previous") else "last")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--resume=baseline", "--name=other"],
            "a resumed run keeps its folder, lightning_logs/baseline",
        ),
        (["--resume", "--name=other"], "no run, folder or checkpoint 'other'"),
        (["--resume=base"], "'base' could be any of baseline, baseline_2"),
    ],
)
def test_another_name_than_that_of_the_resumed_run_is_refused(words, message, two_runs):
    with pytest.raises(UserError, match=message):
        find_record(parse(["fit", *words]), Path())


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def no_memory(*args, **kwargs):
    raise MemoryError("Unable to allocate 1 GiB")


@pytest.mark.parametrize(
    ("words", "where", "action", "status"),
    [
        (["--model.backbone_args.foo=1"], None, None, 2),
        (["--weights=no.pth", "--name=mine"], None, None, 2),
        ([], "lit_cnn.cli.lightning_cli.loggers", interrupt, 130),
        (["--name=mine"], "lit_cnn.data.arrays.Digits.setup", interrupt, 130),
        ([], "lit_cnn.data.arrays.Digits.prepare_data", no_memory, 2),
        (["--name=mine"], "lit_cnn.data.arrays.Digits.train_dataloader", interrupt, 130),
    ],
)
def test_a_run_that_does_not_start_leaves_nothing_behind(words, where, action, status, workdir, monkeypatch):
    if where is not None:
        monkeypatch.setattr(where, action)
    before = sorted(workdir.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main(["fit", *TINY, *words, "--project=new/projects"])
    assert stop.value.code == status
    assert [path for path in sorted(workdir.rglob("*")) if path not in before and "cache" not in path.parts] == []


def test_a_failed_evaluation_of_a_copied_checkpoint_leaves_no_run_folder(trained, workdir, fails):
    shutil.copy(trained / "checkpoints" / "best.ckpt", workdir)
    fails("test", "--ckpt_path=best.ckpt", "--data=CIFAR10")
    assert not LOGS.exists()


def test_a_run_that_fails_later_says_so_and_a_failed_resume_changes_nothing(workdir, fails):
    main(["fit", *TINY, "--epochs=1", "--name=a"])
    before = read_state(LOGS / "a")
    fails("fit", "--resume=a", "--epochs=2", "--batch-size=7")
    assert read_state(LOGS / "a") == before
    fails("fit", "--resume=a", "--epochs=2", "--lr=1e30", "--model.lr_scheduler=constant")
    state = read_state(LOGS / "a")
    assert (state["state"], state["started"]) == ("failed", before["started"])
    assert state["reason"].startswith("the training loss is nan in epoch 2")


def test_predict_takes_a_folder_whatever_its_structure(trained, workdir, capsys):
    write_pictures(workdir / "x" / "train" / "cat", 2)
    write_pictures(workdir / "x" / "test" / "dog", 2)
    write_pictures(workdir / "x", 1)
    main(["predict", f"--ckpt_path={shutil.copy(trained / 'checkpoints' / 'best.ckpt', workdir)}", "--data-dir=x"])
    with Path("lightning_logs/version_0/predict/predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5


@pytest.mark.parametrize(
    ("words", "images"),
    [
        (["predict", "--data-dir=x"], ["x"]),
        (["predict", "--data.data_dir", "x", "-b", "2"], ["x"]),
        (["predict", "--data=ImageFolder", "--data-dir=x"], []),
        (["predict", "--data-dir=x", "--config=data.yaml"], []),
        (["predict", "--data-dir=x", "--config=other.yaml"], ["x"]),
        (["predict", "a.jpg", "--data-dir=x"], ["a.jpg"]),  # refused later
        (["test", "--data-dir=x"], []),
        (["validate", "--data-dir=x"], []),
    ],
)
def test_data_dir_alone_names_the_images_of_predict_only(words, images, workdir):
    Path("data.yaml").write_text("data: {class_path: ImageFolder}\n")
    Path("other.yaml").write_text("trainer: {precision: 32}\n")
    arguments = parse(words)
    before = list(arguments.flags)
    take_folder_to_predict(arguments)
    assert arguments.images == images
    assert ("--data.data_dir", "x") in (arguments.flags if images != ["x"] else before)
