"""``trainer.max_time``: its forms, and a resume that has all of the time again."""

from __future__ import annotations

import itertools
from datetime import timedelta
from types import SimpleNamespace

import pytest

from lit_cnn.callbacks.time_limit import parse_duration
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from tests.conftest import TINY, load, state_differences


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("00:00:00:04", "00:00:00:04"),
        ("12:00:00:00", "12:00:00:00"),
        ("1:30:00", "00:01:30:00"),
        ("90s", "00:00:01:30"),
        ("5m", "00:00:05:00"),
        ("5 min", "00:00:05:00"),
        ("1h30m", "00:01:30:00"),
        ("2d", "02:00:00:00"),
        ({"hours": 36}, "01:12:00:00"),
        ('{"minutes": 5}', "00:00:05:00"),
        (timedelta(seconds=5), "00:00:00:05"),
    ],
)
def test_every_form_becomes_days_hours_minutes_and_seconds(value, expected):
    assert parse_duration(value, "trainer.max_time") == expected


@pytest.mark.parametrize(
    "value", ["", "5", "0s", "soon", "1:2", "1:00:00:00:00", "5x", "-5m", {"years": 1}, {}, "{x", {"hours": "1"}]
)
def test_what_is_no_length_of_time_is_refused(value):
    with pytest.raises(UserError, match=r"trainer.max_time=.*: give 90s, 5m"):
        parse_duration(value, "trainer.max_time")


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_stop_is_told_and_a_resume_goes_on_exactly_with_all_of_the_time(accumulate, workdir, monkeypatch, capsys):
    words = [
        "fit", *TINY, "--model.lr_scheduler=constant", "--epochs=3", f"--trainer.accumulate_grad_batches={accumulate}"
    ]  # fmt: skip
    main([*words, "--trainer.default_root_dir=straight"])
    seconds = itertools.count()  # every reading of the clock is a second after the one before
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    limited = ["--trainer.default_root_dir=limited", "--trainer.max_time=15s"]
    capsys.readouterr()
    main([*words, *limited])
    steps, done = [], 0
    for _ in range(10):
        printed = capsys.readouterr().out
        checkpoint = load(workdir / "limited" / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")
        steps.append(checkpoint["global_step"])
        assert steps[-1] > done, "each start has the time again"
        done = steps[-1]
        if done == 30 // accumulate:
            break
        assert f"step {done}: the time limit is reached" in printed
        assert "resume with: lit-cnn fit --resume limited/lightning_logs/version_0/checkpoints/last.ckpt" in printed
        main(["fit", "--resume", "--trainer.default_root_dir=limited"])
    assert len(steps) > 1
    folders = [workdir / root / "lightning_logs" / "version_0" for root in ("straight", "limited")]
    assert state_differences(*(folder / "checkpoints" / "last.ckpt" for folder in folders)) == []
    assert (folders[0] / "metrics.csv").read_bytes() == (folders[1] / "metrics.csv").read_bytes()


def test_a_constant_rate_needs_no_end_but_the_time(workdir, capsys, fails):
    words = ["fit", *(w for w in TINY if "one_cycle" not in w), "--epochs=-1", "--trainer.max_time=1s"]
    main([*words, "--model.lr_scheduler=constant"])
    assert "the time limit is reached" in capsys.readouterr().out
    line = fails(*words, "--model.lr_scheduler=cosine")
    assert line.startswith("--model.lr_scheduler cosine needs an end: set --epochs")
    assert "--model.lr_scheduler constant" in line
