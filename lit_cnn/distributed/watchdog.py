"""The processes of one run end together: none is left waiting for one that died, and one line says which and how.

Lightning's own observer kills every process of its machine without a word, up to five seconds after one of them
failed, also while the others are about to end in good order; it watches neither the first process nor other machines.
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
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from lit_cnn.distributed.connections import LOST, Link
from lit_cnn.errors import Stopped, UserError
from lit_cnn.utils.signals import terminate

GRACE = 5.0  # seconds for a process to end by itself once another one is gone
LAST_STEPS = 12.0  # seconds for a process that is ending to be gone
SAME_ERROR = 3.0  # seconds in which the first process will have met the error that another one met
POLL = 0.5  # seconds between two looks
PARENT = "LIT_CNN_PARENT"  # environment variable: process id of the one that launched this one

# last words of a process: ended well; all others must end too; and two that are told to the user
DONE, STOP = "done", "stop"
TERMINATED, FAILED = "was told to stop", "stopped with an error, which it printed"


class Peers(Callback):
    """Watch the run's other processes, and end this one when one of them is gone.

    The first process knows how the processes that it launched ended. Those elsewhere, and the first one itself, are
    watched through a :class:`~lit_cnn.distributed.connections.Link`, which hears of any death at once. A process in a
    collective with a dead one may hang for ever, so a thread ends it if it has not ended by itself after
    :data:`GRACE` seconds.

    Args:
        advice: called when the run ended because a process is gone; returns how to go on, or ``""``.
    """

    def __init__(self, advice: Callable[[], str] = str) -> None:
        self._advice = advice
        self._rank, self._world_size = 0, 1
        self._children: list[subprocess.Popen[bytes]] = []
        self._parent: int | None = None  # process id
        self._parent_gone: str | None = None  # what this process says then, if it is the one to say it
        self._link: Link | None = None
        self._ended_well: set[int] = set()  # ranks
        self._cause: str | None = None  # how the run ended, where another process ended it
        self._ended = threading.Event()  # another process ended the run
        self._leaving = threading.Event()  # this process is ending by itself
        self._done = threading.Event()  # there is nothing left to watch
        self._spoken = threading.Lock()

    def watch(self, trainer: Trainer) -> None:
        """Join the trainer's callbacks and begin, before it launches its processes; not for a run of one process."""
        # Lightning's own calls a collective in the handler, which waits for ever where only one process got the signal
        trainer._signal_connector._sigterm_notifier_fn = terminate  # type: ignore[method-assign, assignment]  # no setting for it
        # and has its first process tell all others before each batch whether it got one: here all agree after a step
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]  # no setting for it
        launcher = trainer.strategy.launcher
        if trainer.world_size == 1 or not isinstance(launcher, _SubprocessScriptLauncher):
            return
        self._rank, self._world_size = trainer.global_rank, trainer.world_size
        environment = launcher.cluster_environment
        trainer.callbacks.insert(0, self)  # type: ignore[attr-defined]  # untyped in Lightning
        trainer.strategy._launcher = _Launcher(environment, launcher.num_processes, launcher.num_nodes, self._children)
        if PARENT in os.environ:
            self._parent = int(os.environ.pop(PARENT))
            launched_by, first_child = self._name(self._rank - trainer.local_rank), 1
        elif "TORCHELASTIC_RUN_ID" in os.environ:  # other launchers may leave by design
            self._parent = os.getppid()
            launched_by, first_child = "torchrun", 0
        if self._parent is not None and trainer.local_rank == first_child:
            self._parent_gone = f"{launched_by} is gone: killed, or it crashed; the run is over"
        threading.Thread(target=self._run, name="lit_cnn-peers", daemon=True).start()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Connect the processes, now that each can speak to all."""
        if self._link is not None:
            return
        link = Link(trainer.strategy.cluster_environment.main_address, trainer.is_global_zero)  # type: ignore[attr-defined]  # of strategies with several processes
        invitation = trainer.strategy.broadcast(link.invitation)
        if not trainer.is_global_zero:
            try:
                link.join(invitation, self._rank)
            except OSError as error:
                host, port, _ = invitation
                print(
                    f"note: {self._name(self._rank)} on {socket.gethostname()} cannot connect to {host}:{port} "
                    f"({error.strerror or error}): should one of the two die, the other may wait for it",
                    file=sys.stderr,
                )
        trainer.strategy.barrier("peers")
        if trainer.is_global_zero:
            link.welcome()  # now, so that whatever happens next reaches all of them
        self._link = link

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Around the whole run: the others learn how this process ended, and an error of all is told by the first.

        Raises:
            SystemExit: with 1 instead of an error that only came from another process's end.
        """
        try:
            yield
        except Stopped:  # in good order, as the others are
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
        if self._link is not None:
            self._link.leave(DONE)
        self._let_go()

    def _fail(self, error: BaseException) -> None:
        if self._world_size == 1:
            return
        self._leaving.set()
        connection_lost = is_connection_error(error)
        by_others = connection_lost or (self._rank > 0 and not isinstance(error, SystemExit))
        if by_others and self._ended.wait(GRACE if connection_lost else SAME_ERROR):
            self._tell()
            self._let_go()
            raise SystemExit(1) from error
        if self._link is not None:
            self._link.leave(STOP if self._rank == 0 else TERMINATED if isinstance(error, SystemExit) else FAILED)
        else:
            for child in self._children:
                child.terminate()  # it waits for this process to connect, and has nothing to save yet
        self._let_go()

    def _let_go(self) -> None:
        """Close what is shared, and leave none of the processes behind that this one launched."""
        # while Python is whole: gloo's threads may hold tensors, whose end after Python's is a crash
        # (https://github.com/pytorch/pytorch/pull/179291); Lightning does so for NCCL
        if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
            torch.distributed.destroy_process_group()
        end = time.monotonic() + LAST_STEPS
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):  # killed below
                child.wait(max(0.0, end - time.monotonic()))
        for child in self._children:
            child.kill()  # does nothing to one that has ended

    def _tell(self) -> None:
        """Say once what ended the run: the first process does, or the second where it was the first that died."""
        if self._cause is None or not self._spoken.acquire(blocking=False):
            return
        sys.stdout.flush()
        advice = self._advice()
        print(f"lit-cnn: error: {self._cause}" + (f"\n{advice}" if advice else ""), file=sys.stderr, flush=True)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._done.is_set() and not self._someone_is_gone():
            pass
        if self._done.is_set():
            return
        if self._link is not None and self._rank == 0:
            self._link.leave(STOP)
        self._ended.set()
        if self._leaving.wait(GRACE):
            time.sleep(LAST_STEPS)  # its last steps, too, may wait for the dead: for ever
        self._tell()
        for child in self._children:
            child.kill()
        if sys.stdout.isatty():
            print("\x1b[?25h", end="", flush=True)  # a progress bar hides the cursor
        os._exit(1)

    def _someone_is_gone(self) -> bool:
        """Look and listen for up to POLL seconds; note the cause where this process is the one to tell it."""
        left: list[tuple[int, str]] = []
        if self._link is not None:
            left = self._link.listen(POLL)
        else:
            self._done.wait(POLL)
        for rank, word in left:
            if word == DONE:
                self._ended_well.add(rank)
                if self._rank > 0:  # it was the first process, and what it did last concerns no other
                    self._done.set()
                continue
            if self._rank == 0 or (self._rank == 1 and word == LOST):
                self._cause = self._how(rank, word)
            return True
        for rank, child in enumerate(self._children, start=self._rank + 1):
            if child.poll() and rank not in self._ended_well:
                self._cause = self._how(rank)
                return True
        if self._parent is not None and os.getppid() != self._parent:
            self._cause = self._parent_gone
            return True
        return False

    def _name(self, rank: int) -> str:
        return f"the process of rank {rank} (of {self._world_size})"

    def _how(self, rank: int, word: str = LOST) -> str:
        """One line on how the process of that rank ended."""
        if word != LOST:
            return f"{self._name(rank)} {word}; the run is over"
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


class _Launcher(_SubprocessScriptLauncher):
    """Lightning's, without its observer: it is shown no processes, and ends."""

    def __init__(
        self, environment: Any, num_processes: int, num_nodes: int, children: list[subprocess.Popen[bytes]]
    ) -> None:
        super().__init__(environment, num_processes, num_nodes)
        self._children = children

    def _call_children_scripts(self) -> None:
        os.environ[PARENT] = str(os.getpid())
        super()._call_children_scripts()
        del os.environ[PARENT]
        self._children += self.procs
        self.procs = []

    def kill(self, signum: int) -> None:
        """Send a signal to the processes that were launched."""
        for child in self._children:
            child.send_signal(signum)


def is_connection_error(error: BaseException) -> bool:
    """Whether an error may come from another process's end: what a collective raises when a connection breaks."""
    if isinstance(error, UserError):
        return False
    return isinstance(error, torch.distributed.DistError) or "gloo/" in str(error) or "NCCL" in str(error)
