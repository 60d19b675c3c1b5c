"""What watches the processes of one run; tests/faults/test_processes.py kills real ones."""

from __future__ import annotations

import contextlib
import signal
import threading

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from lit_cnn.distributed.watchdog import ProcessWatchdog, is_connection_error
from lit_cnn.errors import Stopped, UserError


def trainer(devices: int) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_a_run_of_one_rank_watches_nothing():
    alone, watchdog = trainer(1), ProcessWatchdog()
    watchdog.watch(alone)
    assert "lit_cnn-watchdog" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(UserError), watchdog.guard():
        raise UserError("its own")


def test_the_launched_processes_are_watched_by_us_and_not_by_lightning(monkeypatch):
    class Child:
        def __init__(self, *args, **kwargs):
            self.received = []

        def poll(self):
            return None

        def send_signal(self, number):
            self.received.append(number)

    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # what the launcher sets is undone at the end
        monkeypatch.delenv(name)
    observed = []
    launching = "lightning.pytorch.strategies.launchers.subprocess_script"
    monkeypatch.setattr(f"{launching}.subprocess.Popen", Child)
    monkeypatch.setattr(f"{launching}._launch_process_observer", observed.append)
    two, watchdog = trainer(2), ProcessWatchdog()
    watchdog.watch(two)
    two.strategy.launcher.launch(lambda: None)
    watchdog._done.set()
    assert observed == [[]]
    assert len(watchdog._children) == 1
    two.strategy.launcher.kill(15)
    assert watchdog._children[0].received == [15]


def test_sigterm_outside_of_training_ends_the_process_without_a_collective():
    class Sent(Callback):
        def on_test_start(self, trainer, pl_module):
            signal.raise_signal(signal.SIGTERM)

    alone = trainer(1)
    alone.callbacks.append(Sent())
    ProcessWatchdog().watch(alone)
    with pytest.raises(SystemExit) as stop:
        alone.test(BoringModel(), verbose=False)
    assert stop.value.code == 143


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Connection closed by peer"), True),
        (torch.distributed.DistBackendError("NCCL error in: ..."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (UserError("cannot read photos/gloo/1.jpg"), False),
    ],
)
def test_errors_of_broken_connections_are_recognized(error, lost):
    assert is_connection_error(error) is lost


@pytest.mark.parametrize(
    ("backend", "error", "expected"),
    [
        ("nccl", None, ["destroyed", "waited", "killed"]),
        ("gloo", None, ["destroyed", "waited", "killed"]),
        ("nccl", Stopped(143), ["destroyed", "waited", "killed"]),
        ("gloo", UserError("its own"), ["destroyed", "waited", "killed"]),
        ("nccl", UserError("its own"), ["waited", "killed"]),  # the other ranks may be gone, and it may wait for them
    ],
)
def test_process_groups_are_destroyed_before_the_launched_ranks_are_waited_for(backend, error, expected, monkeypatch):
    done = []

    class Child:
        def wait(self, timeout):
            done.append("waited")

        def kill(self):
            done.append("killed")

        def terminate(self):
            pass

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: done.append("destroyed"))
    watchdog = ProcessWatchdog()
    watchdog._world_size, watchdog._children = 2, [Child()]
    with contextlib.suppress(Stopped, UserError), watchdog.guard():
        if error is not None:
            raise error
    assert done == expected
