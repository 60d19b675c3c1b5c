"""Runs that stop early: the reason is told, a resume is refused or goes on as if the run had never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch import Callback

from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run
from lit_cnn.cli.main import main
from tests.cli.helpers import rows
from tests.conftest import TINY, load, state_differences

# nothing improves after the first epoch: an equal accuracy is no improvement
STUCK = ["fit", *(w for w in TINY if "lr" not in w), "--lr=1e-9", "--model.lr_scheduler=constant", "--epochs=6"]
ROOT = "--trainer.default_root_dir"


def last(root: str) -> Path:
    return Path(root) / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"


def stopped(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("stopped in epoch")]


def early_stopping(**init_args: object) -> list[str]:
    words = [f"--trainer.callbacks.{name}={value}" for name, value in init_args.items()]
    return ["--trainer.callbacks+=EarlyStopping", *words]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--patience=1"], "epoch 2/6, step 20: val/acc has not improved for 1 epoch (patience 1), best"),
        (["--patience=2"], "epoch 3/6, step 30: val/acc has not improved for 2 epochs (patience 2), best"),
        (
            early_stopping(monitor="val/acc", patience=2),
            "epoch 3/6, step 30: val/acc has not improved for 2 epochs (patience 2), best",
        ),
        (
            early_stopping(monitor="train/loss", patience=1, min_delta=100),
            "epoch 2/6, step 20: train/loss has not improved for 1 epoch (patience 1), best",
        ),
        (
            early_stopping(monitor="val/acc", stopping_threshold=0.0),
            "epoch 1/6, step 10: val/acc has passed the stopping threshold 0.0",
        ),
        (
            early_stopping(monitor="val/loss", divergence_threshold=0.1),
            "epoch 1/6, step 10: val/loss is worse than the divergence threshold 0.1",
        ),
        (
            [*early_stopping(monitor="val/loss", patience=1, min_delta=100), "--trainer.val_check_interval=5"],
            "epoch 1/6, step 10: val/loss has not improved for 1 validation (patience 1), best",
        ),
    ],
)
def test_the_reason_of_a_stop_is_told(words, line, workdir, capsys):
    main([*STUCK, *words])
    (found,) = stopped(capsys)
    assert found.startswith(f"stopped in {line}")


def test_a_run_that_ends_as_planned_says_nothing(workdir, capsys):
    main([*STUCK, "--patience=9", "--trainer.max_time=1h"])
    assert stopped(capsys) == []


def test_the_best_epoch_is_named(workdir, capsys):
    main([*STUCK, "--patience=2"])
    (line,) = stopped(capsys)
    score = float(rows(last(".").parent.parent / "metrics.csv")[0]["val/acc"])
    assert line.endswith(f"best {score:.4f} in epoch 1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--patience=1"], ["--patience=11"]),
        (early_stopping(monitor="val/acc", patience=1), ["--patience=11"]),
        (early_stopping(monitor="val/acc", patience=1), ["--trainer.callbacks=null"]),
        (["--patience=1"], ["--patience=null"]),
        (early_stopping(monitor="val/loss", patience=1, min_delta=100), ["--trainer.callbacks=null"]),
        (early_stopping(monitor="val/acc", stopping_threshold=0.0), ["--trainer.callbacks=null"]),
    ],
)
def test_a_resume_of_a_stopped_run_is_refused_and_the_advice_works(words, advice, workdir, fails):
    main([*STUCK, *words])
    line = fails("fit", "--resume")
    assert "has stopped early" in line
    assert " ".join(advice).replace("=", " ") in line
    main(["fit", "--resume", *advice])
    assert load(last("."))["global_step"] == 60


def test_a_stopped_run_with_more_patience_continues_as_if_it_had_never_stopped(workdir):
    main([*STUCK, "--patience=4", f"{ROOT}=straight"])
    main([*STUCK, "--patience=1", f"{ROOT}=stopped"])
    main(["fit", "--resume", "--patience=4", f"{ROOT}=stopped"])
    assert state_differences(last("straight"), last("stopped")) == []


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["min_epochs=4", "min_steps=40"])
def test_a_stop_that_a_minimum_overrules_is_told(limit, workdir, capsys):
    main([*STUCK, "--patience=1", f"--trainer.{limit}"])
    printed = capsys.readouterr().out
    assert f"training goes on because of --trainer.{limit.replace('=', ' ')}" in printed
    assert "stopped in epoch 4/6, step 40: val/acc has not improved for 3 epochs" in printed
    assert load(last("."))["global_step"] == 40


class Improve(Callback):
    """Learn from epoch ``number`` on."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        if trainer.current_epoch >= self.number:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = 0.05


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 3])
def test_an_improvement_after_an_overruled_stop_counts_in_a_resumed_run_as_in_a_whole_one(stop, workdir):
    words = [*STUCK, "--trainer.min_epochs=5", *early_stopping(monitor="train/loss", patience=1, min_delta=0.001)]
    run(parse([*words, f"{ROOT}=whole"]), callbacks=[Improve(3)])
    run(parse([*words, f"--epochs={stop + 1}", f"{ROOT}=parts"]), callbacks=[Improve(3)])
    run(parse(["fit", "--resume", "--epochs=6", f"{ROOT}=parts"]), callbacks=[Improve(3)])
    assert load(last("whole"))["global_step"] == 60
    assert state_differences(last("whole"), last("parts")) == []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--patience=0"], ["--patience 0", "at least 1"]),
        (["--patience=3", "--checkpoint.monitor=null"], ["--patience needs a metric", "--checkpoint.monitor val/acc"]),
        (["--patience=3", "--trainer.limit_val_batches=0"], ["--patience watches val/acc", "limit_val_batches 0"]),
        (early_stopping(monitor="val_acc"), ["'val_acc'", "'val/acc'"]),
        (["--trainer.callbacks+=Timer", "--trainer.max_time=5m"], ["both limit the time"]),
        ([*early_stopping(monitor="val/acc"), *early_stopping(monitor="val/acc")], ["two callbacks EarlyStopping"]),
        (["--trainer.logger=false", "--trainer.callbacks=LearningRateMonitor"], ["needs a logger"]),
        (["--trainer.callbacks=EMAWeightAveraging", "--model.ema_decay=0.9"], ["both average the weights"]),
        (["--trainer.callbacks=WeightAveraging", "--trainer.strategy=fsdp"], ["WeightAveraging needs full weights"]),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(words, parts, workdir, fails):
    line = fails(*STUCK, *words)
    assert all(part in line for part in parts)
    assert len(line) <= 200
    assert not list(workdir.glob("lightning_logs/*"))
