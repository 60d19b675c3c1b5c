"""The global rank of this process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

PARENT = "LIT_CNN_PARENT"  # environment variable: process id of the rank that launched this one
SAME_ERROR = (
    10.0  # seconds in which rank zero will have met the error that another rank met, and the launcher ended all
)

_watched = False


def launched_rank() -> int:
    """The rank that torchrun, srun or the like gave this process, by Lightning's rules; 0 where there is none."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        if name in os.environ:
            return int(os.environ[name]) if os.environ[name].isdecimal() else 0
    return 0


def is_rank_zero() -> bool:
    """Whether this process is global rank 0: the one that prints, and writes the run folder.

    Lightning reads the rank from the environment when it is imported and sets it again when it launches processes.
    """
    if "lightning" not in sys.modules:
        return launched_rank() == 0
    from lightning.pytorch.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0


def watch_begins() -> None:
    """From here on the watchdog of the ranks decides which of them reports an error."""
    global _watched
    _watched = True


@contextlib.contextmanager
def one_report() -> Iterator[None]:
    """Let an error that all ranks meet before they are connected, such as a mistyped setting, be reported by one.

    The other ranks wait to be ended by their launcher, as torchrun does when rank zero fails; a rank that is alone with
    its error reports it after that.
    """
    try:
        yield
    except Exception:
        if launched_rank() > 0 and not _watched and PARENT not in os.environ:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_DFL)  # without a word
            time.sleep(SAME_ERROR)
        raise
