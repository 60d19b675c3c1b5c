"""Real training processes in a fraction of a second each: forked from a server that has imported everything.

``multiprocessing``'s fork server is a fresh process of one thread, so its children are sound, and each is a process of
its own that can be killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_cnn.cli.commands.verify_resume import KillAt
from tests import figures
from tests.conftest import TINY

CONTEXT = multiprocessing.get_context("forkserver")
# the last two are imported by a run, by the digits and by what a logger writes
PRELOAD = ["tests.faults.harness", "lit_cnn.cli.commands.run", "sklearn.datasets", "torch.utils.tensorboard"]
CONTEXT.set_forkserver_preload(PRELOAD)

# Flags of a run of 30 steps that saves at every fourth.
SHORT = [*TINY, "--epochs=3", "--checkpoint_every=4", "--model.ema_decay=0.9"]

# How a run that was stopped says how to resume; the path of the checkpoint follows.
RESUME = "resume with: lit-cnn fit --resume "


class SignalAt(Callback):
    """Send a signal to this process at the start of every batch, ``count`` times, from optimizer step ``step`` on."""

    def __init__(self, step: int, number: int, count: int = 1) -> None:
        self.step, self.number, self.count = step, number, count

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step >= self.step and self.count > 0:
            self.count -= 1
            os.kill(os.getpid(), self.number)


class KillWithin(Callback):
    """Kill this process some seconds after it has begun the step that follows ``step``: anywhere, also in a save."""

    def __init__(self, step: int, delay: float) -> None:
        self.step, self.delay = step, delay

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()


def run(*words: str, root: Path, callbacks: tuple[Callback, ...] = (), check: bool = True, draw: bool = False) -> int:
    """Run ``lit-cnn words`` in a separate process; returns its exit status, ``-9`` when it was killed.

    What it prints is added to ``root/terminal.txt``. Figures are blank if not ``draw``.
    """
    root.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # the server is started with it
    process = CONTEXT.Process(target=_child, args=(list(words), str(root), list(callbacks), draw))
    process.start()
    process.join(300)
    assert process.exitcode is not None, "the run hangs"
    if check:
        assert process.exitcode == 0, terminal(root)
    return process.exitcode


def terminal(root: Path) -> str:
    """All that the runs under ``root`` have printed."""
    return (root / "terminal.txt").read_text()


def last(root: Path, version: int = 0) -> Path:
    """last.ckpt of a run under ``root``."""
    return root / "lightning_logs" / f"version_{version}" / "checkpoints" / "last.ckpt"


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: (step, value) by name."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _child(words: list[str], root: str, callbacks: list[Callback], draw: bool) -> None:
    file = (Path(root) / "terminal.txt").open("a", buffering=1)  # until the process ends, which writes to it too
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = file
    if not draw:
        figures.blank()
    from lit_cnn.cli.argv import parse
    from lit_cnn.cli.commands.run import run as run_command
    from lit_cnn.cli.errors import report_errors

    with report_errors(debug=False):
        run_command(parse([*words, f"--trainer.default_root_dir={root}"]), callbacks=callbacks)


__all__ = ["RESUME", "SHORT", "KillAt", "KillWithin", "SignalAt", "last", "run", "scalars", "terminal"]
