"""Watchdog over the ranks of a run: when one dies, all others end, and one line says which and how.

Lightning's own observer kills every process of its machine without a message, up to five seconds after one of them
failed, also while the others are about to end normally; it watches neither rank zero nor other machines.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.distributed.connections import DIED, PeerConnections
from lit_cnn.errors import Stopped, UserError
from lit_cnn.utils.console import say
from lit_cnn.utils.lightning_internals import handle_sigterm_by, replace_launcher
from lit_cnn.utils.rank import PARENT, watch_begins
from lit_cnn.utils.signals import terminate
from lit_cnn.utils.streams import is_terminal

GRACE = 5.0  # seconds for a process to end by itself once another one is gone
LAST_STEPS = 12.0  # seconds for a process that is ending to be gone
SAME_ERROR = 3.0  # seconds in which rank zero will have met the error that another rank met
POLL = 0.5  # seconds between two checks

# last messages of a process: ended normally; all others must end too; and two that are shown to the user
DONE, STOP = "done", "stop"
TERMINATED, FAILED = "was stopped by a signal", "stopped with an error, which it printed"


class ProcessWatchdog(Callback):
    """Watch the run's other ranks, and end this one when one of them is gone.

    A process gets the exit status of those that it launched. Other machines, and rank zero itself, are watched through
    :class:`~lit_cnn.distributed.connections.PeerConnections`, which notices any death at once. A process in a
    collective with a dead one may hang for ever, so a thread ends it if it has not ended by itself after
    :data:`GRACE` seconds.

    Args:
        advice: called when the run ended because a process is gone; returns how to resume, or ``""``.
    """

    def __init__(self, advice: Callable[[], str] = str) -> None:
        self._advice = advice
        self._rank, self._world_size = 0, 1
        self._environment: Any = None  # the cluster's
        self._children: list[subprocess.Popen[bytes]] = []
        self._parent: int | None = None  # process id
        self._parent_gone: str | None = None  # the message then, if this process is the one to print it
        self._connections: PeerConnections | None = None
        self._finished: set[int] = set()  # ranks that ended normally
        self._cause: str | None = None  # how the run ended, where another process ended it
        self._ended = threading.Event()  # another process ended the run
        self._leaving = threading.Event()  # this process is ending by itself
        self._done = threading.Event()  # there is nothing left to watch
        self._reported = threading.Lock()

    def watch(self, trainer: Trainer) -> None:
        """Begin before the trainer launches its ranks; a run of one process is not watched."""
        watch_begins()
        handle_sigterm_by(trainer, terminate)
        if trainer.world_size == 1 or (environment := replace_launcher(trainer, self._children)) is None:
            return
        self._rank, self._world_size = trainer.global_rank, trainer.world_size
        self._environment = environment
        if PARENT in os.environ:
            self._parent = int(os.environ.pop(PARENT))
            launched_by, first_child = self._name(self._rank - trainer.local_rank), 1
        elif "TORCHELASTIC_RUN_ID" in os.environ:  # other launchers may leave by design
            self._parent = os.getppid()
            launched_by, first_child = "torchrun", 0
        if self._parent is not None and trainer.local_rank == first_child:
            self._parent_gone = f"{launched_by} is gone: killed, or it crashed; the run is over"
        threading.Thread(target=self._run, name="lit_cnn-watchdog", daemon=True).start()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Connect the ranks, now that each can send to all."""
        if self._world_size == 1 or self._connections is not None:
            return
        connections = PeerConnections(self._environment.main_address, trainer.is_global_zero)
        address = trainer.strategy.broadcast(connections.address)
        if not trainer.is_global_zero:
            try:
                connections.connect(address, self._rank)
            except OSError as error:
                host, port, _ = address
                say(
                    f"note: {self._name(self._rank)} on {socket.gethostname()} cannot connect to {host}:{port} "
                    f"({error.strerror or error}): should one of the two die, the other may wait for it",
                    error=True,
                    all_ranks=True,
                )
        trainer.strategy.barrier("watchdog")
        if trainer.is_global_zero:
            connections.accept()  # now, so that all of them get the message about whatever happens next
        self._connections = connections

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """To be wrapped around a run: report to the other ranks how this one ended; rank zero prints an error of all.

        Raises:
            SystemExit: with 1 instead of an error that only came from another process's end.
        """
        try:
            yield
        except Stopped:  # saved, as the others have
            self._finish()
            raise
        except BaseException as error:
            self._fail(error)
            raise
        else:
            self._finish()

    # -- the main thread ----------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        if self._world_size == 1:
            return
        self._leaving.set()
        self._done.set()
        if self._connections is not None:
            self._connections.close(DONE)
        self._clean_up(failed=False)

    def _fail(self, error: BaseException) -> None:
        if self._world_size == 1:
            return
        self._leaving.set()
        connection_lost = is_connection_error(error)
        by_others = connection_lost or (self._rank > 0 and not isinstance(error, SystemExit))
        if by_others and self._ended.wait(GRACE if connection_lost else SAME_ERROR):
            self._report()
            self._clean_up()
            raise SystemExit(1) from error
        if self._connections is not None:
            stops = isinstance(error, SystemExit)
            self._connections.close(STOP if self._rank == 0 else TERMINATED if stops else FAILED)
        else:
            for child in self._children:
                child.terminate()  # it waits for this process to connect and has nothing to save yet
        self._clean_up()

    def _clean_up(self, *, failed: bool = True) -> None:
        """Destroy the process groups, and wait for or kill the processes that this one launched."""
        # Before Python shuts down: gloo's threads may hold tensors, and freeing them later crashes
        # (https://github.com/pytorch/pytorch/pull/179291). NCCL's wait for the other ranks to destroy theirs, so this
        # rank must not first wait for these to end; after a failure they may wait for ever.
        if torch.distributed.is_initialized() and (not failed or torch.distributed.get_backend() == "gloo"):
            torch.distributed.destroy_process_group()
        end = time.monotonic() + LAST_STEPS
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):  # killed below
                child.wait(max(0.0, end - time.monotonic()))
        for child in self._children:
            child.kill()  # does nothing to one that has ended

    def _report(self) -> None:
        """Print once what ended the run: rank zero does, or rank one where it was rank zero that died."""
        if self._cause is None or not self._reported.acquire(blocking=False):
            return
        sys.stdout.flush()
        advice = self._advice()
        say(f"lit-cnn: error: {self._cause}" + (f"\n{advice}" if advice else ""), error=True, all_ranks=True)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._done.is_set() and not self._process_is_gone():
            pass
        if self._done.is_set():
            return
        if self._connections is not None and self._rank == 0:
            self._connections.close(STOP)
        self._ended.set()
        if self._leaving.wait(GRACE):
            time.sleep(LAST_STEPS)  # its last steps, too, may wait for the dead: for ever
        self._report()
        for child in self._children:
            child.kill()
        if is_terminal(sys.stdout):
            print("\x1b[?25h", end="", flush=True)  # a progress bar hides the cursor
        os._exit(1)

    def _process_is_gone(self) -> bool:
        """Check and listen for up to POLL seconds; note the cause where this process is the one to report it."""
        closed: list[tuple[int, str]] = []
        if self._connections is not None:
            closed = self._connections.listen(POLL)
        else:
            self._done.wait(POLL)
        for rank, message in closed:
            if message == DONE:
                self._finished.add(rank)
                if self._rank > 0:  # it was rank zero, and what it did last concerns no other
                    self._done.set()
                continue
            if self._rank == 0 or (self._rank == 1 and message == DIED):
                self._cause = self._how(rank, message)
            return True
        for rank, child in enumerate(self._children, start=self._rank + 1):
            if child.poll() and rank not in self._finished:
                self._cause = self._how(rank)
                return True
        if self._parent is not None and os.getppid() != self._parent:
            self._cause = self._parent_gone
            return True
        return False

    def _name(self, rank: int) -> str:
        return f"the process of rank {rank} (of {self._world_size})"

    def _how(self, rank: int, message: str = DIED) -> str:
        """One line on how the process of that rank ended."""
        if message != DIED:
            return f"{self._name(rank)} {message}; the run is over"
        status = None
        if 0 < rank - self._rank <= len(self._children):  # launched by this one
            with contextlib.suppress(subprocess.TimeoutExpired):  # then how it ended is not known
                status = self._children[rank - self._rank - 1].wait(GRACE)
        if status is not None and status < 0:
            hint = ", which the system sends when memory runs out" if status == -signal.SIGKILL else ""
            how = f"was killed by signal {-status} ({signal.Signals(-status).name}{hint})"
        elif status is not None:
            how = f"ended with exit code {status}"
        else:
            how = "is gone: killed, or its machine cannot be reached"
        return f"{self._name(rank)} {how}; the run is over"


def is_connection_error(error: BaseException) -> bool:
    """Whether an error may come from another process's end: what a collective raises when a connection breaks."""
    if isinstance(error, UserError):
        return False
    return isinstance(error, torch.distributed.DistError) or "gloo/" in str(error) or "NCCL" in str(error)
