"""The direction in which a metric improves follows from its name, unless a mode is given."""

from __future__ import annotations

import pytest

from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run
from lit_cnn.cli.main import main
from lit_cnn.cli.metrics import mode_of
from lit_cnn.tasks.kinds import TASKS
from tests.conftest import TINY, load

METRICS = [name for task in TASKS.values() for name in task.measured]


@pytest.mark.parametrize(
    ("metric", "mode"),
    [*((name, "min" if name.endswith("loss") else "max") for name in METRICS), ("val/f1_macro", "max"), ("mae", "min")],
)
def test_a_loss_improves_when_it_falls_and_an_accuracy_when_it_rises(metric, mode):
    assert mode_of(metric) == mode


def settings(*words: str) -> tuple[str, str | None]:
    """Modes of the checkpoint and of the first EarlyStopping, as they are in config.yaml."""
    plain = run(parse(["fit", *TINY, "--trainer.fast_dev_run=true", *words])).run.plain
    stops = [
        c["init_args"]["mode"] for c in plain["trainer"]["callbacks"] or [] if c["class_path"].endswith("Stopping")
    ]
    return plain["checkpoint"]["mode"], stops[0] if stops else None


STOP = "--trainer.callbacks+=EarlyStopping"
MONITOR, MODE = "--trainer.callbacks.monitor", "--trainer.callbacks.mode"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("max", None)),
        (["--checkpoint.monitor=val/loss"], ("min", None)),
        (["--checkpoint.monitor=train/loss"], ("min", None)),
        (["--checkpoint.monitor=train/acc"], ("max", None)),
        (["--checkpoint.monitor=val/loss", "--checkpoint.mode=max"], ("max", None)),
        (["--checkpoint.mode=min"], ("min", None)),
        ([STOP, f"{MONITOR}=val/acc"], ("max", "max")),
        ([STOP, f"{MONITOR}=val/loss"], ("max", "min")),
        ([STOP, f"{MONITOR}=val/acc", f"{MODE}=min"], ("max", "min")),
        ([STOP, f"{MODE}=max", f"{MONITOR}=val/loss"], ("max", "max")),
        (["--trainer.callbacks+=LearningRateMonitor", STOP, f"{MONITOR}=train/acc"], ("max", "max")),
        (['--trainer.callbacks={"class_path": "EarlyStopping", "init_args": {"monitor": "val/acc"}}'], ("max", "max")),
    ],
)
def test_the_mode_follows_from_the_metric_unless_it_is_given(words, expected, workdir):
    assert settings(*words) == expected


def test_the_mode_follows_in_a_config_too(workdir):
    (workdir / "c.yaml").write_text(
        "checkpoint: {monitor: val/loss}\n"
        "trainer:\n  callbacks:\n  - {class_path: EarlyStopping, init_args: {monitor: val/acc_top5}}\n",
        encoding="utf-8",
    )
    assert settings("--config=c.yaml") == ("min", "max")


def test_a_mode_against_the_metric_is_honoured_and_told(workdir, capsys, fails):
    main(["fit", *TINY, "--trainer.fast_dev_run=true", "--checkpoint.monitor=val/loss", "--checkpoint.mode=max"])
    assert "note: --checkpoint.mode max keeps the epoch with the highest val/loss" in capsys.readouterr().out
    assert fails("fit", *TINY, "--checkpoint.mode=up").startswith("--checkpoint.mode: 'up' is none of")


@pytest.mark.slow
def test_a_resumed_run_keeps_the_mode_that_it_began_with(workdir, monkeypatch):
    words = [
        "fit",
        *TINY,
        "--model.lr_scheduler=constant",
        "--checkpoint.monitor=val/loss",
        STOP,
        f"{MONITOR}=val/loss",
    ]
    with monkeypatch.context() as patch:
        patch.setattr("lit_cnn.cli.monitoring.mode_of", lambda metric: "max")  # as before the mode followed
        main([*words, "--epochs=1"])
    main(["fit", "--resume", "--epochs=2"])
    states = load(workdir / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")["callbacks"]
    assert all("'mode': 'max'" in key for key in states if "'mode'" in key)
    main(["fit", "--resume", "--epochs=3", "--checkpoint.monitor=train/loss"])
    states = load(workdir / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")["callbacks"]
    assert any("'train/loss', 'mode': 'min'" in key for key in states)
