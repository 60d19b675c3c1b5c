"""Real signals to real runs: stop in good order, resume with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TINY, load, state_differences

from . import harness
from .harness import RESUME, SignalAt

SETTINGS = [*TINY, "--model.ema_decay=0.9", "--trainer.accumulate_grad_batches=2", "--model.mixup_alpha=0.2"]
SHORT, RUN = [*SETTINGS, "--epochs=3"], [*SETTINGS, "--epochs=25"]
TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]


def start(root: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lit_cnn", *words, f"--trainer.default_root_dir={root}"]
    # one thread: two processes of two threads each slow each other down tenfold on two cores
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_epoch(root: str, epoch: int) -> None:
    """Return when the run has written so many rows of metrics.csv."""
    path = Path(root) / "lightning_logs" / "version_0" / "metrics.csv"
    end = time.monotonic() + 120
    while not path.exists() or len(path.read_text().splitlines()) <= epoch:
        assert time.monotonic() < end, "the run did not come so far"
        time.sleep(0.01)


def last(root: str) -> Path:
    return Path(root) / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"


SIGNALS = pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGHUP, 129)],
    ids=["ctrl-c", "sigterm", "slurm's sigusr1", "terminal closed"],
)


def assert_same_runs(first: Path, second: Path) -> None:
    """The complete state and metrics.csv of two runs, given by their last.ckpt, are the same."""
    assert state_differences(first, second) == []
    tables = [path.parent.parent / "metrics.csv" for path in (first, second)]
    assert tables[0].read_bytes() == tables[1].read_bytes()


# -- signals that a run sends to itself, in forked processes -----------------------------------------------------------


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """last.ckpt of a short run that nothing stops."""
    root = tmp_path_factory.mktemp("short")
    harness.run("fit", *SHORT, root=root)
    return harness.last(root)


@SIGNALS
def test_a_signal_saves_and_the_resumed_run_ends_with_the_same_bits(number, status, short, tmp_path):
    signals = (SignalAt(7, number),)  # 5 steps an epoch: inside the second one
    assert harness.run("fit", *SHORT, root=tmp_path, callbacks=signals, check=False) == status
    said = harness.terminal(tmp_path)
    assert f"{RESUME}{harness.last(tmp_path)}" in said
    assert "Traceback" not in said
    assert load(harness.last(tmp_path))["global_step"] == 8, "the step is finished first"
    harness.run("fit", "--resume", root=tmp_path)
    assert_same_runs(short, harness.last(tmp_path))


def test_a_second_signal_stops_at_once_and_what_was_saved_stays(tmp_path):
    words = [*TINY, "--epochs=3", "--trainer.accumulate_grad_batches=100000"]  # no step ends before its epoch does
    signals = (SignalAt(1, signal.SIGINT, count=2),)
    assert harness.run("fit", *words, root=tmp_path, callbacks=signals, check=False) == 130
    assert "a second signal stops at once" in harness.terminal(tmp_path)
    assert load(harness.last(tmp_path))["global_step"] == 1


# -- signals from outside, to runs as users start them ----------------------------------------------------------------


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """last.ckpt of a run in one process that nothing stops."""
    root = str(tmp_path_factory.mktemp("straight"))
    run = start(root, "fit", *RUN)
    assert run.communicate(timeout=120)
    assert run.returncode == 0
    return last(root)


def stop_and_resume(number: int, status: int, *words: str) -> Path:
    """Stop a run by a signal in its third epoch and resume it; returns its last.ckpt."""
    run = start("stopped", "fit", *words)
    wait_for_epoch("stopped", 2)
    run.send_signal(number)
    _, error = run.communicate(timeout=60)
    assert run.returncode == status, error
    assert f"{RESUME}stopped/lightning_logs/version_0/checkpoints/last.ckpt" in error
    assert "Traceback" not in error
    assert start("stopped", "fit", "--resume").wait(120) == 0
    return last("stopped")


@pytest.mark.slow
@SIGNALS
def test_a_signal_from_outside_saves_and_the_resumed_run_ends_with_the_same_bits(number, status, straight, workdir):
    assert_same_runs(straight, stop_and_resume(number, status, *RUN))


@pytest.mark.slow
def test_a_signal_to_one_of_two_ranks_stops_both_and_the_resumed_run_ends_with_the_same_bits(workdir):
    straight = start("straight", "fit", *RUN, *TWO)
    stopped = stop_and_resume(signal.SIGTERM, 143, *RUN, *TWO)
    assert straight.wait(120) == 0
    assert_same_runs(last("straight"), stopped)


@pytest.mark.slow
def test_a_second_signal_from_outside_stops_at_once_and_what_was_saved_stays(workdir):
    # accumulation over more batches than there are: no step ends before the epoch does
    run = start("out", "fit", *TINY, "--epochs=400", "--batch-size=2", "--trainer.accumulate_grad_batches=100000")
    wait_for_epoch("out", 2)  # the first one's row is written before its checkpoint
    run.send_signal(signal.SIGINT)
    time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "a second signal stops at once" in error
    assert last("out").is_file()


@pytest.mark.slow
def test_a_kill_leaves_a_checkpoint_that_resumes_to_the_same_bits(straight, workdir):
    run = start("killed", "fit", *RUN)
    wait_for_epoch("killed", 3)
    run.kill()
    run.communicate(timeout=30)
    assert start("killed", "fit", "--resume").wait(120) == 0
    assert state_differences(straight, last("killed")) == []
