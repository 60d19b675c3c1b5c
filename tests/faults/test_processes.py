"""The processes of one run end together: real kills, errors and signals, on one machine and on two simulated ones."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TINY, load, state_differences
from tests.faults.harness import RESUME
from tests.faults.test_signals import RUN, TWO, last, start, wait_for_epoch

pytestmark = pytest.mark.slow
README = Path(__file__).parents[2] / "README.md"
DIGITS = str(README.parent / "configs" / "lenet_digits.yaml")
CPU = "--trainer.accelerator=cpu"

# A run of whose processes one does something to itself in the second epoch, while the others hang for ever, as NCCL's
# collectives do when a process is dead. A signal and an error leave the others alone.
FAULTY_RUN = """
import os, signal, threading
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.tasks.classification import ImageClassifier

fault, rank = os.environ["FAULT"].split()
training_step = ImageClassifier.training_step


def faulty(self, batch, batch_idx):
    if (self.trainer.current_epoch, batch_idx) == (1, 2):
        if self.trainer.global_rank != int(rank):
            if fault == "kill":
                threading.Event().wait()
        elif fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "error":
            raise UserError("photo.jpg is broken")
        elif fault == "terminate":
            os.kill(os.getpid(), signal.SIGTERM)
        elif fault == "ctrl-c":
            os.killpg(0, signal.SIGINT)
    return training_step(self, batch, batch_idx)


ImageClassifier.training_step = faulty
main()
"""


@pytest.fixture
def popen() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes to kill at the end of the test, with all that they started."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        ("kill 1", 1, "the process of rank 1 (of 2) was killed by signal 9 (SIGKILL"),
        ("kill 0", -9, "the process of rank 0 (of 2) is gone"),
        ("error 1", 1, "the process of rank 1 (of 2) stopped with an error, which it printed"),
        ("terminate 1", 143, f"saved; {RESUME}"),
        ("ctrl-c 0", 130, f"saved; {RESUME}"),
    ],
)
def test_what_ends_one_rank_ends_all_within_30_seconds_with_one_line(fault, status, told, workdir, popen):
    Path("run.py").write_text(FAULTY_RUN)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "FAULT": fault}
    words = [sys.executable, "run.py", "fit", *TINY, "--epochs=400", *TWO, "--trainer.default_root_dir=out"]
    run = subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    popen.append(run)
    wait_for_epoch("out", 1)
    since = time.monotonic()
    _, error = run.communicate(timeout=60)  # until the last process is gone: all of them hold its end
    assert time.monotonic() - since < 30
    assert run.returncode == status, error
    assert error.count(told) == 1
    assert error.count(f"{RESUME}out/lightning_logs/version_0/checkpoints/last.ckpt") == 1
    assert error.count("lit-cnn: error: ") == {"kill": 1, "error": 2}.get(fault.split()[0], 0)
    assert error.count("stopping after this step") == ("saved" in told)
    assert error.count("photo.jpg is broken") == fault.startswith("error")
    assert "Traceback" not in error
    assert load(last("out"))["epoch"] == (1 if "saved" in told else 0)
    assert [path.name for path in Path("out/lightning_logs").iterdir()] == ["version_0"]


def start_machines(root: str, *words: str) -> list[subprocess.Popen[str]]:
    """Two machines' worth of processes, by the command lines of docs/distributed.md."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = (README.parent / "docs" / "distributed.md").read_text(encoding="utf-8")
    block = page.partition("<!-- machines -->")[2].partition("<!-- end -->")[0]
    commands = re.findall(r"^torchrun (.+)$", block.replace("host0", "127.0.0.1").replace("29500", str(port)), re.M)
    machines = []
    for command in commands:
        documented = shlex.split(command)
        if "--resume" in words:
            config = documented.index("--config")
            del documented[config : config + 2]
        else:
            documented[documented.index("--config") + 1] = DIGITS
        whole = ["-m", "torch.distributed.run", *documented, *words, CPU, f"--trainer.default_root_dir={root}"]
        machines.append(
            subprocess.Popen(
                [sys.executable, *whole],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
    return machines


def test_two_machines_stop_together_and_resume_to_the_bits_of_one(workdir, popen):
    straight = start("straight", "fit", "--config", DIGITS, *RUN, "--epochs=12", *TWO)
    machines = start_machines("two", *RUN, "--epochs=12")
    popen += [straight, *machines]
    wait_for_epoch("two", 2)
    machines[1].terminate()
    errors = [machine.communicate(timeout=60)[1] for machine in machines]
    assert all(machine.returncode for machine in machines)
    assert "".join(errors).count(f"saved; {RESUME}two/lightning_logs/version_0") == 1
    assert load(last("two"))["epoch"] < 11
    machines = start_machines("two", "--resume")
    popen += machines
    for machine in machines:
        output = machine.communicate(timeout=120)
        assert machine.returncode == 0, output
    assert straight.wait(120) == 0
    assert state_differences(last("straight"), last("two")) == []
    tables = [last(root).parent.parent / "metrics.csv" for root in ("straight", "two")]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    assert [path.name for path in Path("two/lightning_logs").iterdir()] == ["version_0"]


def test_a_rank_killed_on_one_of_two_machines_ends_both_within_30_seconds(workdir, popen):
    machines = start_machines("out", *TINY, "--epochs=400")
    popen += machines
    wait_for_epoch("out", 2)  # so that the first one is saved
    agent = machines[1].pid
    os.kill(int(Path(f"/proc/{agent}/task/{agent}/children").read_text().split()[0]), signal.SIGKILL)
    since = time.monotonic()
    errors = [machine.communicate(timeout=60)[1] for machine in machines]
    assert time.monotonic() - since < 30
    assert [machine.returncode for machine in machines] == [1, 1]
    assert errors[0].count("the process of rank 1 (of 2) is gone: killed, or its machine cannot be reached") == 1
    assert load(last("out"))["epoch"] >= 0
