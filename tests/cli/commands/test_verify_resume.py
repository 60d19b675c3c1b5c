"""``--verify_resume`` says identical when it is so, and names what differs when it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from lit_cnn.cli.commands import verify_resume
from lit_cnn.cli.main import main
from tests.conftest import TINY
from tests.faults import harness

WORDS = ["fit", *TINY, "--model.ema_decay=0.9", "--trainer.accumulate_grad_batches=2", "--verify_resume"]


class Forgetful(Callback):
    """Change the weights by something that no checkpoint knows: how many batches this process has seen."""

    seen = 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seen += 1
        if self.seen == 5:
            next(pl_module.parameters()).data.mul_(0.9)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[Callback]:
    """Start the runs from the fork server instead of four times from nothing; returns callbacks to give them."""
    callbacks: list[Callback] = []

    class Done:
        stderr = ""

        def __init__(self, status: int) -> None:
            self.returncode = status

    def run(command, **kwargs):
        assert command[:3] == [sys.executable, "-m", "lit_cnn.cli.commands.verify_resume"]
        *words, root = command[4:]
        kill = (verify_resume.KillAt(int(command[3])),) if int(command[3]) else ()
        root = Path(root.removeprefix("--trainer.default_root_dir="))
        done = Done(harness.run(*words, root=root, callbacks=(*callbacks, *kill), check=False))
        done.stderr = harness.terminal(root)
        return done

    monkeypatch.setattr(verify_resume.subprocess, "run", run)
    return callbacks


@pytest.mark.slow
def test_a_run_killed_twice_is_identical_to_an_uninterrupted_one(workdir, capsys) -> None:
    main([*WORDS, "9"])  # as a user does: four real processes
    out = capsys.readouterr().out
    assert "uninterrupted: 9 steps in epochs of 6 batches" in out
    assert "again: killed after step 3, resumed, killed after step 7, resumed" in out
    assert "identical: weights, optimizer, schedule, counters and metrics.csv (SHA-256 " in out
    assert list(workdir.iterdir()) == [], "a trial leaves nothing behind"


def test_a_model_with_hidden_state_is_detected_and_the_first_difference_named(workdir, quick, capsys) -> None:
    quick.append(Forgetful())
    with pytest.raises(SystemExit) as stop:
        main([*WORDS, "9"])
    assert stop.value.code == 1
    out = capsys.readouterr().out
    assert "different: state_dict/backbone." in out
    assert "values, by at most" in out
    assert "two straight runs differ" not in out


def test_it_goes_with_a_new_training_run_only(workdir, fails) -> None:
    assert "use it with fit, without --resume" in fails("fit", "--resume", "--verify_resume")
    assert "use it with fit" in fails("test", "--ckpt_path=best", "--verify_resume")
    assert "steps, at least 8" in fails(*WORDS, "3")
    assert "expected a whole number of steps" in fails("fit", *TINY, "--verify_resume=many")


def test_a_run_that_fails_is_reported_with_its_own_message(workdir, quick, fails) -> None:
    error = fails(*WORDS, "9", "--model.backbone=resnet1")
    assert "a run failed: unknown model 'resnet1', did you mean" in error


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ({"device": "CPU (AVX2)", "torch": "2.14.0", "precision": "32-true"}, ""),
        ({}, ""),
        (
            {"deterministic": True, "benchmark": False},
            "on NVIDIA H100, torch 2.14.0, precision 16-mixed, deterministic algorithms: other runs there have",
        ),
        (
            {"deterministic": False, "benchmark": False},
            "note: on NVIDIA H100, torch 2.14.0, precision 16-mixed; other runs can differ without "
            "`trainer.deterministic=true`",
        ),
    ],
)
def test_on_a_gpu_it_says_what_the_result_depends_on(key, line) -> None:
    gpu = {"device": "NVIDIA H100", "torch": "2.14.0", "precision": "16-mixed"} if "benchmark" in key else {}
    assert verify_resume._where_it_holds({**gpu, **key}).startswith(line)
    assert bool(verify_resume._where_it_holds({**gpu, **key})) == bool(line)
