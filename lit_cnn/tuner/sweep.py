"""Sweeps: training runs over a grid or list of settings, each done once however often the sweep is started.

A sweep's runs are ordinary run folders in ``lightning_logs``. ``sweeps/NAME/sweep.json`` says which run has which
settings, and nothing else: how far a run is, its folder says. A worker claims a run by a file lock, which the system
frees when the worker is killed. So the same command, started again, does what is left and resumes the run that was cut
off, and several workers (on one machine, or on several that share the folder and its locks) divide the runs between
them.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import BaseFileLock, Timeout

from lit_cnn import run_folder
from lit_cnn.errors import UserError
from lit_cnn.results.run_state import FINISHED, read_state
from lit_cnn.tuner.sweep_settings import Settings, name_parts
from lit_cnn.utils.files import atomic_write, file_lock

SWEEPS = "sweeps"
POLL = 1.0  # seconds between two looks at what other workers do
LONGEST = 100  # letters of a run's name


class SweepRun(NamedTuple):
    """A run of a sweep: the name of its folder, and the settings that are its own."""

    name: str
    settings: Settings


class Claim(NamedTuple):
    """A run that this worker trains.

    Attributes:
        run: its name and settings.
        resume: the checkpoint to resume; None: it has not begun.
        lock: held until the run has ended.
    """

    run: SweepRun
    resume: Path | None
    lock: BaseFileLock


class RunFailedError(Exception):
    """A run ended with an error.

    Attributes:
        line: what the run has said.
        mistake: whether it was a mistake in the settings, which another try repeats.
    """

    def __init__(self, line: str, mistake: bool = False) -> None:
        super().__init__(line)
        self.line, self.mistake = line, mistake


class Source(Protocol):
    """Where a worker finds its next run."""

    def claim(self) -> Claim | None:
        """A run that nobody trains; None if there is none now."""

    def end(self, claim: Claim, error: RunFailedError | None) -> None:
        """Take note of how a run has ended, before its lock is released."""

    def left(self) -> bool:
        """Whether runs are left, which other workers may be training."""


class Sweep:
    """The record of a sweep in ``root/sweeps/NAME``.

    Args:
        root: the folder that holds ``lightning_logs``.
        name: of the sweep, and the beginning of its runs' names.
        words: command line that all runs share.
        exact: the name is the user's: a sweep of that name with another command line is refused, not passed over.

    Raises:
        UserError: there is a sweep of this name with another command line, or its record cannot be read or written.
    """

    def __init__(self, root: Path, name: str, words: Sequence[str], exact: bool) -> None:
        self.root, self.words = root, list(words)
        for number in itertools.count(1):
            self.name = name if number == 1 else f"{name}_{number}"
            self.folder = root / SWEEPS / self.name
            known = self._read()
            if known is None or known["words"] == self.words:
                return
            if exact:
                raise UserError(
                    f"{self.folder} is a sweep of another command, lit-cnn fit {' '.join(known['words'])}: repeat that "
                    "one to continue it, or choose another `name`"
                )

    @property
    def path(self) -> Path:
        """The record."""
        return self.folder / "sweep.json"

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            return {"words": list(found["words"]), "runs": {str(k): dict(v) for k, v in found["runs"].items()}}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(
                f"cannot read {self.path} ({error}): delete {self.path.parent}, and name another"
            ) from error

    def lock(self) -> BaseFileLock:
        """Held while the record is changed."""
        try:
            return file_lock(self.folder / ".lock")
        except OSError as error:
            raise UserError(f"cannot write {self.folder}: {error.strerror}; choose another place") from error

    def add(self, wanted: Sequence[Settings], parts: Sequence[Sequence[str]] = ()) -> list[SweepRun]:
        """The runs of some settings; those that the record lacks are given a name and added to it.

        Args:
            wanted: settings of each run.
            parts: parts of the names of new ones; by default the values of the settings.
        """
        with self.lock():
            known = self._read() or {"words": self.words, "runs": {}}
            found, before = [], len(known["runs"])
            for settings, words in zip(wanted, parts or map(name_parts, wanted), strict=True):
                plain = json.loads(json.dumps(settings))
                name = next((name for name, each in known["runs"].items() if each == plain), None)
                if name is None:
                    name = self._free_name(words, known["runs"])
                    known["runs"][name] = plain
                found.append(SweepRun(name, settings))
            if len(known["runs"]) > before or not self.path.exists():
                with atomic_write(self.path) as file:
                    file.write(json.dumps(known, indent=2) + "\n")
        return found

    def _free_name(self, parts: Sequence[str], taken: Mapping[str, Any]) -> str:
        whole = "-".join([self.name, *parts])[:LONGEST].rstrip("-. ")
        names = itertools.chain([whole], (f"{whole}_{number}" for number in itertools.count(2)))
        return next(name for name in names if name not in taken and not self.run_folder(name).exists())

    def run_folder(self, name: str) -> Path:
        """The folder of a run."""
        return self.root / run_folder.LOGS / name

    def is_finished(self, name: str) -> bool:
        """Whether a run has been trained to its end."""
        return read_state(self.run_folder(name)).get("state") == FINISHED

    def take(self, name: str) -> BaseFileLock | None:
        """The lock of a run, acquired; None where another worker holds it."""
        lock = file_lock(self.folder / ".locks" / name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        except NotImplementedError:  # a file system without locks: one worker then
            pass
        return lock

    def claim(self, run: SweepRun) -> Claim | None:
        """Claim a run, unless another process has it, trains it or has finished it."""
        lock = self.take(run.name)
        if lock is None:
            return None
        folder = self.run_folder(run.name)
        if self.is_finished(run.name) or run_folder.is_locked(folder):  # the child of a killed worker may train on
            lock.release()
            return None
        last = folder / "checkpoints" / "last.ckpt"
        if not last.is_file():
            last = next(iter(run_folder.checkpoints_in(folder)), last)
        if last.is_file():
            return Claim(run, last, lock)
        if folder.exists():  # cut off before its first checkpoint: nothing of it can be resumed
            shutil.rmtree(folder)
        return Claim(run, None, lock)


class Listed:
    """A source of given runs."""

    def __init__(self, sweep: Sweep, runs: Sequence[SweepRun]) -> None:
        self.sweep, self.runs = sweep, runs
        self.failed: dict[str, str] = {}

    def claim(self) -> Claim | None:
        """The first run that is neither done nor being trained; one that failed is tried again by the next sweep."""
        candidates = (run for run in self.runs if run.name not in self.failed)
        return next(filter(None, map(self.sweep.claim, candidates)), None)

    def end(self, claim: Claim, error: RunFailedError | None) -> None:
        """Remember a failed run."""
        if error is not None:
            self.failed[claim.run.name] = error.line

    def left(self) -> bool:
        """Whether a run is neither done nor failed."""
        return any(run.name not in self.failed and not self.sweep.is_finished(run.name) for run in self.runs)


def work(
    source: Source,
    train: Callable[[Claim], None],
    jobs: int = 1,
    stop: Callable[[], None] = lambda: None,
    poll: float = POLL,
) -> None:
    """Train the runs of a source, ``jobs`` at a time, until none is left.

    Args:
        source: of runs.
        train: trains one run, in a thread where several are trained at a time; raises :class:`RunFailedError`.
        jobs: how many at a time.
        stop: ends those that are being trained, where the sweep is stopped; they are waited for.
        poll: seconds between two looks at the runs of other workers.
    """
    running: dict[Future[None], Claim] = {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while _start(source, train, jobs, running, pool) or source.left():
                if not running:
                    time.sleep(poll)
                    continue
                for future in wait(running, timeout=poll, return_when=FIRST_COMPLETED).done:
                    _end(source, running.pop(future), future.exception())
        except BaseException:  # a signal too: the pool waits for its runs, which must end first
            stop()
            raise


def _start(
    source: Source,
    train: Callable[[Claim], None],
    jobs: int,
    running: dict[Future[None], Claim],
    pool: ThreadPoolExecutor,
) -> bool:
    """Start as many runs as there is room for; whether any is running."""
    while len(running) < jobs and (claim := source.claim()) is not None:
        # one at a time in this thread, which gets the signals
        running[_done(train, claim) if jobs == 1 else pool.submit(train, claim)] = claim
    return bool(running)


def _end(source: Source, claim: Claim, error: BaseException | None) -> None:
    try:
        if error is not None and not isinstance(error, RunFailedError):
            raise error
        source.end(claim, error)
    finally:
        claim.lock.release()


def _done(train: Callable[[Claim], None], claim: Claim) -> Future[None]:
    future: Future[None] = Future()
    try:
        train(claim)
        future.set_result(None)
    except RunFailedError as error:
        future.set_exception(error)
    except BaseException:  # a signal too: whoever continues the sweep needs the lock
        claim.lock.release()
        raise
    return future
