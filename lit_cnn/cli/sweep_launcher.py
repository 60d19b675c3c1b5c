"""Start the runs of a sweep as processes of their own, and stop them with the sweep."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from lit_cnn.cli.errors import EXIT_USER_ERROR
from lit_cnn.results.run_summary import RunSummary, summarize
from lit_cnn.tuner.sweep import Claim, RunFailedError, Source, Sweep, work
from lit_cnn.tuner.sweep_settings import flags
from lit_cnn.utils.console import say

LOOK = 0.3  # seconds between two looks at a process
PREFIX = "lit-cnn: error: "


class Launcher:
    """Trains runs of a sweep.

    Args:
        sweep: it.
        imports: ``--allow_import`` words, which a resumed run needs too.
        test: test the best checkpoint of each run.
        jobs: how many are trained at a time; on CPUs each has its share of the cores.
        devices: GPUs, one for each of several runs at a time.
        watch: called while a run trains, with its claim; True ends the run early.
    """

    def __init__(
        self,
        sweep: Sweep,
        imports: Sequence[str] = (),
        test: bool = False,
        jobs: int = 1,
        devices: int = 0,
        watch: Callable[[Claim], bool] = lambda claim: False,
    ) -> None:
        self.sweep, self.imports, self.test, self.watch = sweep, list(imports), test, watch
        self.environment: dict[str, str] = {}
        if jobs > 1 and not devices and "OMP_NUM_THREADS" not in os.environ:
            self.environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
        self._free = list(range(devices)) if jobs > 1 else []
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __call__(self, claim: Claim) -> None:
        """Train a run, and test it.

        Raises:
            RunFailedError: it ended with an error.
        """
        name = claim.run.name
        if claim.resume is not None:
            words = ["fit", "--resume", str(claim.resume), *self.imports]
        else:
            words = ["fit", *self.sweep.words, *flags(claim.run.settings), f"--name={name}"]
        say(f"{name}: {'resumed' if claim.resume else 'started'}")
        with self._device() as environment:
            pruned = self._run([*words, "--trainer.enable_progress_bar=false"], environment, lambda: self.watch(claim))
            if self.test and not pruned:
                self.evaluate(name, environment)
        run = summary(self.sweep, name)
        best = "no score" if run.best is None else f"{run.metric} {run.best:.4f}"
        say(f"{name}: {best}{' (pruned)' if pruned else ''}")

    def evaluate(self, name: str, environment: dict[str, str] | None = None) -> None:
        """Test the best checkpoint of a run, unless it is tested already."""
        folder = self.sweep.run_folder(name)
        checkpoint = folder / "checkpoints" / "best.ckpt"
        if checkpoint.is_file() and not (folder / "test" / "metrics.json").is_file():
            words = ["test", "--ckpt_path", str(checkpoint), *self.imports, "--trainer.enable_progress_bar=false"]
            self._run(words, environment or {}, lambda: False)

    def stop(self) -> None:
        """Stop what is running, as a signal does: a run saves first."""
        self._stopped = True
        with self._lock:
            for process in self._processes:
                with contextlib.suppress(OSError):  # it has ended
                    process.terminate()

    @contextlib.contextmanager
    def _device(self) -> Any:
        with self._lock:
            device = self._free.pop(0) if self._free else None
        try:
            yield self.environment | ({} if device is None else {"CUDA_VISIBLE_DEVICES": str(device)})
        finally:
            if device is not None:
                with self._lock:
                    self._free.append(device)

    def _run(self, words: Sequence[str], environment: dict[str, str], ends: Callable[[], bool]) -> bool:
        """Run a command; returns whether it was ended early by ``ends``."""
        early = False
        with tempfile.TemporaryFile() as errors:
            command = [sys.executable, "-m", "lit_cnn", *words]
            with self._lock:
                if self._stopped:
                    raise RunFailedError("stopped")
                process = subprocess.Popen(
                    command, stdout=subprocess.DEVNULL, stderr=errors, env=os.environ | environment
                )
                self._processes.add(process)
            try:
                while process.poll() is None:
                    if not early and ends():
                        early = True
                        process.terminate()
                    time.sleep(LOOK)
            except BaseException:  # a signal too: no process is left behind
                self.stop()
                process.wait()
                raise
            finally:
                with self._lock:
                    self._processes.discard(process)
            if process.returncode and not early:
                errors.seek(0)
                raise _failure(errors.read().decode(errors="replace"), process.returncode)
        return early


def _failure(said: str, status: int) -> RunFailedError:
    lines = [line.removeprefix(PREFIX) for line in said.splitlines() if line.strip()]
    named = [line.removeprefix(PREFIX) for line in said.splitlines() if line.startswith(PREFIX)]
    line = (named or lines or [f"ended with status {status}"])[-1]
    return RunFailedError(line, mistake=status == EXIT_USER_ERROR)


def summary(sweep: Sweep, name: str) -> RunSummary:
    """How far a run has come, and how well."""
    return summarize(sweep.run_folder(name), False)


def train_all(launcher: Launcher, source: Source, jobs: int) -> None:
    """Train all runs of a source; stopped, the runs save and the sweep can be continued."""
    try:
        work(source, launcher, jobs, launcher.stop)
    except (KeyboardInterrupt, SystemExit):
        say("stopped; the same command continues the sweep", error=True)
        raise
