"""Real signals to real runs: stop in good order, resume with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TINY, state_differences

RUN = [*TINY, "--epochs=25", "--model.ema_decay=0.9", "--trainer.accumulate_grad_batches=2", "--model.mixup_alpha=0.2"]
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


@pytest.mark.parametrize(
    ("number", "status", "extra"),
    [(signal.SIGINT, 130, []), (signal.SIGTERM, 143, []), (signal.SIGUSR1, 138, []), (signal.SIGTERM, 143, TWO)],
    ids=["ctrl-c", "sigterm", "slurm's sigusr1", "sigterm to one of two processes"],
)
def test_a_signal_saves_and_the_resumed_run_ends_with_the_same_bits(number, status, extra, workdir):
    straight = start("straight", "fit", *RUN, *extra)
    run = start("stopped", "fit", *RUN, *extra)
    wait_for_epoch("stopped", 2)
    run.send_signal(number)
    _, error = run.communicate(timeout=60)
    assert run.returncode == status, error
    assert "go on with: lit-cnn fit --resume stopped/lightning_logs/version_0/checkpoints/last.ckpt" in error
    assert "Traceback" not in error
    resumed = start("stopped", "fit", "--resume")
    assert resumed.wait(120) == 0
    assert straight.wait(120) == 0
    assert state_differences(last("straight"), last("stopped")) == []
    tables = [last(root).parent.parent / "metrics.csv" for root in ("straight", "stopped")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_a_second_signal_stops_at_once_and_what_was_saved_stays(workdir):
    # accumulation over more batches than there are: no step ends before the epoch does
    run = start("out", "fit", *TINY, "--epochs=400", "--batch-size=2", "--trainer.accumulate_grad_batches=100000")
    wait_for_epoch("out", 2)  # the first one's row is written before its checkpoint
    run.send_signal(signal.SIGINT)
    time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "once more stops at once" in error
    assert last("out").is_file()


def test_a_kill_leaves_a_checkpoint_that_resumes_to_the_same_bits(workdir):
    straight = start("straight", "fit", *RUN)
    run = start("killed", "fit", *RUN)
    wait_for_epoch("killed", 3)
    run.kill()
    run.communicate(timeout=30)
    assert start("killed", "fit", "--resume").wait(120) == 0
    assert straight.wait(120) == 0
    assert state_differences(last("straight"), last("killed")) == []
