"""fit --resume: the same bits, changed settings, moved and copied checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from lit_cnn.cli.main import main
from tests.conftest import EVERY_STEP, LENET, TINY, load, state_differences

from .helpers import QUIET, copy_of, rows

# Everything on that could break exactness: shuffling, augmentation, mixing, accumulation, clipping, averaging.
HARD = [
    *LENET,
    "--epochs=3",
    "--trainer.accumulate_grad_batches=2",
    "--trainer.gradient_clip_val=1",
    "--model.mixup_alpha=0.2",
    "--model.ema_decay=0.9",
    "--data.augment.rotation=10",
]
AS_BEFORE = [
    "--checkpoint.every_n_train_steps=null",
    "--checkpoint.save_top_k=1",
    "--checkpoint.monitor=val/acc",
    "--checkpoint.filename=best",
    "--checkpoint.save_on_train_epoch_end=true",
]


@pytest.mark.slow
def test_a_run_resumed_in_the_middle_of_an_epoch_ends_with_the_same_bits(workdir):
    main(["fit", *HARD, "--trainer.default_root_dir=straight"])
    straight = workdir / "straight" / "lightning_logs" / "version_0"
    main(["fit", *HARD, *EVERY_STEP, "--trainer.default_root_dir=stopped"])
    stopped = workdir / "stopped" / "lightning_logs" / "version_0"
    # 5 optimizer steps an epoch: 7 and 12 lie inside the second and the third
    for step in (7, 12):
        run = workdir / f"from{step}" / "lightning_logs" / "version_0"
        (run / "checkpoints").mkdir(parents=True)
        shutil.copy(stopped / "checkpoints" / f"step{step}.ckpt", run / "checkpoints")
        shutil.copy(stopped / "metrics.csv", run)
        main(["fit", "--ckpt_path", str(run / "checkpoints" / f"step{step}.ckpt"), *AS_BEFORE])
        assert state_differences(straight / "checkpoints" / "last.ckpt", run / "checkpoints" / "last.ckpt") == []
        assert (run / "metrics.csv").read_bytes() == (straight / "metrics.csv").read_bytes()


def test_resume_continues_in_its_own_folder_with_more_epochs_and_a_new_learning_rate(trained, workdir, capsys):
    run = copy_of(trained, workdir)
    main(["fit", "--resume", "--epochs", "6", "--lr", "0.001"])
    shown = capsys.readouterr().out
    assert any(line.split()[:3] == ["trainer.max_epochs", "4", "6"] for line in shown.splitlines())
    assert any(line.split()[:3] == ["model.lr", "0.003", "0.001"] for line in shown.splitlines())
    assert [p.name for p in (workdir / "lightning_logs").iterdir()] == ["version_0"]
    table = rows(run / "metrics.csv")
    assert [row["epoch"] for row in table] == ["0", "1", "2", "3", "4", "5"]
    content = load(run / "checkpoints" / "last.ckpt")
    assert content["optimizer_states"][0]["param_groups"][0]["initial_lr"] == 0.001
    assert content["lit_cnn"]["config"]["model"]["lr"] == 0.001
    assert yaml.safe_load((run / "config.before_resume_1.yaml").read_text())["model"]["lr"] == 0.003


def test_a_changed_learning_rate_acts_on_the_first_resumed_step(trained, workdir):
    run = copy_of(trained, workdir)
    common = ["--resume", "--model.lr_scheduler", "constant", "--epochs", "5"]
    main(["fit", *common, "--lr", "1e-12"])
    before = load(trained / "checkpoints" / "last.ckpt")["state_dict"]
    after = load(run / "checkpoints" / "last.ckpt")["state_dict"]
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-8)


def test_the_history_of_the_best_survives_a_moved_run_folder(trained, workdir):
    moved = workdir / "lightning_logs" / "version_3"
    shutil.copytree(trained, moved)
    main(["fit", "--resume", str(moved), "--epochs", "5", "--lr", "1e-12"])
    assert {p.name for p in (moved / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    states = load(moved / "checkpoints" / "last.ckpt")["callbacks"]
    best = next(s["best_model_path"] for s in states.values() if isinstance(s, dict) and "best_model_path" in s)
    assert best == str((moved / "checkpoints" / "best.ckpt").resolve())


@pytest.mark.slow
def test_a_run_that_ended_inside_an_epoch_resumes_to_the_same_bits(workdir):
    # 10 steps an epoch
    main(["fit", *TINY, "--epochs=3", "--model.lr_scheduler=constant", "--trainer.default_root_dir=straight"])
    cut = ["--trainer.max_steps=14", "--model.lr_scheduler=constant", "--trainer.default_root_dir=cut"]
    main(["fit", *TINY, "--epochs=3", *cut])
    main(["fit", "--resume", "--trainer.max_steps=-1", "--trainer.default_root_dir=cut"])
    runs = [workdir / name / "lightning_logs" / "version_0" for name in ("straight", "cut")]
    assert state_differences(*(run / "checkpoints" / "last.ckpt" for run in runs)) == []


def test_resuming_a_transfer_run_does_not_need_the_starting_weights(trained, workdir):
    shutil.copy(trained / "checkpoints" / "best.ckpt", "start.ckpt")
    main(["fit", *LENET, "--epochs=1", "--model.weights=start.ckpt"])
    Path("start.ckpt").unlink()
    main(["fit", "--resume", "--epochs=2"])
    main(["test", "--ckpt_path=last", QUIET])


def test_resuming_from_a_checkpoint_copied_elsewhere_finds_its_own_best(trained, workdir, capsys):
    shutil.copy(trained / "checkpoints" / "last.ckpt", "mine.ckpt")
    main(["fit", "--resume", "mine.ckpt", "--epochs=5", "--trainer.default_root_dir=."])
    command = capsys.readouterr().out.strip().splitlines()[-1]
    path = Path(command.removeprefix("test it: lit-cnn test --ckpt_path "))
    assert path.is_file()
    assert "version_0" in str(path)


def test_resuming_a_finished_run_says_how_to_extend_it(trained, workdir, fails):
    copy_of(trained, workdir)
    assert "has finished its 4 epochs: resume with a larger number, such as --epochs 14" in fails("fit", "--resume")
