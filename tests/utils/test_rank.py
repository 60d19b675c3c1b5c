"""Which rank reports an error before the ranks are connected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from lit_cnn.cli.main import main
from lit_cnn.utils import rank

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", rank.PARENT)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that ranks have waited; nobody is watched yet."""
    seconds: list[float] = []
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rank, "_watched", False)
    monkeypatch.setattr(rank.time, "sleep", seconds.append)
    before = signal.getsignal(signal.SIGTERM)
    yield seconds
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("environment", "waits"),
    [
        ({}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, False),
        ({"RANK": "5", "LOCAL_RANK": "1"}, True),
        ({"SLURM_PROCID": "1"}, True),
        ({"LOCAL_RANK": "1", rank.PARENT: "1"}, False),  # launched by a rank zero that had no error
    ],
)
def test_ranks_above_zero_wait_before_they_report_an_error(environment, waits, waited, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        main(["fti"])
    assert stop.value.code == 2
    assert "unknown command 'fti'" in capsys.readouterr().err, "alone with its error, it reports it"
    assert waited == ([rank.SAME_ERROR] if waits else [])


def test_a_watched_rank_does_not_wait_here(waited, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    rank.watch_begins()
    with pytest.raises(ValueError, match="its own"), rank.one_report():
        raise ValueError("its own")
    assert waited == []


@pytest.mark.slow
@pytest.mark.parametrize("words", [["fti"], ["fit", "--data=Digits", "--model.backbone=resnet1"]])
def test_a_mistake_on_the_command_line_is_reported_once_by_two_ranks(words, workdir):
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "lit_cnn", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    assert done.stderr.count("lit-cnn: error: ") == 1, done.stderr
    assert "stopped" not in done.stderr.splitlines()
