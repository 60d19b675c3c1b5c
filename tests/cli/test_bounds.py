"""Numbers outside of their bounds get one line before anything is built."""

from __future__ import annotations

import pytest
from jsonargparse import Namespace

from lit_cnn.cli import bounds
from lit_cnn.errors import UserError
from tests.conftest import TINY


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--epochs=-5", "--trainer.max_epochs -5: expected at least 1, or -1 for no limit"),
        ("--trainer.max_steps=-5", "--trainer.max_steps -5: expected at least 1, or -1 for no limit"),
        ("--trainer.val_check_interval=0", "--trainer.val_check_interval 0: expected a number of batches, or a share"),
        ("--trainer.val_check_interval=1.5", "--trainer.val_check_interval 1.5: expected a number of batches"),
        ("--trainer.check_val_every_n_epoch=0", "--trainer.check_val_every_n_epoch 0: expected at least 1"),
        (
            "--trainer.limit_val_batches=2.5",
            "--trainer.limit_val_batches 2.5: expected a number of batches, or a share",
        ),
        ("--trainer.limit_train_batches=-1", "--trainer.limit_train_batches -1: expected a number of batches"),
        ("--trainer.num_sanity_val_steps=-3", "--trainer.num_sanity_val_steps -3: expected at least -1"),
        ("--trainer.log_every_n_steps=-1", "--trainer.log_every_n_steps -1: expected at least 0"),
        ("--trainer.accumulate_grad_batches=0", "--trainer.accumulate_grad_batches 0: expected at least 1"),
        ("--trainer.gradient_clip_val=-1", "--trainer.gradient_clip_val -1: expected at least 0"),
        ("--trainer.fast_dev_run=-1", "--trainer.fast_dev_run -1: expected at least 0"),
        ("--trainer.reload_dataloaders_every_n_epochs=-1", "-1: expected at least 0"),
        ("--seed=99999999999999", "--seed 99999999999999: expected at most 4294967295"),
        ("--trainer.profiler=true", "--trainer.profiler true: choose one, simple, advanced or pytorch"),
        ("--trainer.max_time=99999999999h", "--trainer.max_time 99999999999h: give 90s, 5m"),
    ],
)
def test_a_number_outside_of_its_bounds_is_refused(flag: str, expected: str, workdir, fails) -> None:
    assert expected in fails("fit", *TINY, flag)
    assert not (workdir / "lightning_logs").exists()


@pytest.mark.parametrize(
    ("name", "option", "value", "expected"),
    [
        ("EarlyStopping", "patience", "-1", "--trainer.callbacks.patience -1: expected at least 0"),
        ("EarlyStopping", "min_delta", "-1", "--trainer.callbacks.min_delta -1.0: expected at least 0"),
        ("ModelSummary", "max_depth", "-2", "--trainer.callbacks.max_depth -2: expected at least -1"),
    ],
)
def test_so_is_an_option_of_a_callback(name, option, value, expected, workdir, fails) -> None:
    needed = ["--trainer.callbacks.monitor=val/loss"] if name == "EarlyStopping" else []
    words = [f"--trainer.callbacks+={name}", *needed, f"--trainer.callbacks.{option}={value}"]
    assert expected in fails("fit", *TINY, *words)


def test_options_outside_of_init_args_are_told_where_they_belong(workdir, fails) -> None:
    text = "trainer: {callbacks: [{class_path: EarlyStopping, monitor: val/loss}]}"
    (workdir / "own.yaml").write_text(text)
    assert "EarlyStopping: monitor belongs below init_args" in fails("fit", "--config=own.yaml", *TINY)


def test_a_number_that_a_checkpoint_was_trained_with_is_not_refused() -> None:
    settings = {"gradient_clip_val": -1.0, "log_every_n_steps": -1, "callbacks": None}
    config = Namespace(trainer=Namespace(**settings))
    bounds.check(config, {"trainer": settings})
    config.trainer.log_every_n_steps = -2
    with pytest.raises(UserError, match=r"--trainer\.log_every_n_steps -2: expected at least 0"):
        bounds.check(config, {"trainer": settings})
