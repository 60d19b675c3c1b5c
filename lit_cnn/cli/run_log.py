"""What log.txt in the run folder begins and ends with."""

from __future__ import annotations

import contextlib
import platform
import shlex
import socket
import traceback
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import lightning
import torch

from lit_cnn import __version__
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.errors import describe
from lit_cnn.utils import run_log
from lit_cnn.utils.streams import keep_going


@contextlib.contextmanager
def log_of_run(arguments: Arguments, debug: bool) -> Iterator[None]:
    """Record what a fit prints, with the command line and versions before it, and its error after it.

    Other commands leave files with their results instead.

    Args:
        arguments: the command line.
        debug: with the traceback of an error.
    """
    if arguments.command != "fit":
        yield
        return
    versions = f"torch {torch.__version__}, lightning {lightning.__version__}, Python {platform.python_version()}"
    head = (
        f"$ {shlex.join(['lit-cnn', *arguments.typed])}",
        f"lit-cnn {__version__}, {versions}, {platform.platform()}",
        f"{_now()} on {socket.gethostname()}, in {Path.cwd()}",
    )
    with run_log.recording(*head), keep_going():
        try:
            yield
        except BaseException as error:
            if not isinstance(error, SystemExit):  # that one has been reported
                run_log.write(traceback.format_exc() if debug else f"lit-cnn: error: {describe(error)[0]}")
            run_log.write(f"{_now()} stopped")
            raise
        run_log.write(f"{_now()} finished")


def _now() -> str:
    return datetime.now().astimezone().isoformat(" ", "seconds")
