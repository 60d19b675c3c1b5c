"""Entry point: ``lit-cnn`` and ``python -m lit_cnn`` call :func:`main`.

Only the standard library is imported here: torch and lightning cost seconds, which ``--help``, ``--version`` and
mistyped commands need not wait for.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from lit_cnn import __version__
from lit_cnn.cli import clock
from lit_cnn.cli.argv import has_flag
from lit_cnn.cli.commands import COMMAND_ALIASES, COMMANDS
from lit_cnn.cli.errors import as_flags, report_errors
from lit_cnn.cli.help import main_help, run_help
from lit_cnn.cli.other_tools import command_hint
from lit_cnn.errors import UserError, nearest
from lit_cnn.utils.console import spell_settings_by
from lit_cnn.utils.rank import one_report
from lit_cnn.utils.signals import handle_sigterm
from lit_cnn.utils.streams import reliable_streams


def main(args: Sequence[str] | None = None) -> None:
    """Run one command.

    Args:
        args: words of the command line without the program's name; ``None`` takes them from ``sys.argv``.

    Raises:
        SystemExit: with 2 after a user's mistake, 1 after a crash, 130 after Ctrl-C, 143 after SIGTERM, 138 after
            SIGUSR1, 129 after SIGHUP. Success returns.
    """
    clock.start()
    words = list(sys.argv[1:] if args is None else args)
    with reliable_streams():
        _run([w for w in words if w != "--debug"], "--debug" in words)


def _run(words: list[str], debug: bool) -> None:
    if not words or words[0] in ("-h", "--help", "help"):
        print(main_help({name: command.help for name, command in COMMANDS.items()}, COMMAND_ALIASES), end="")
        return
    if words[0] in ("--version", "-V"):
        print(f"lit-cnn {__version__}")
        return
    if sys.__stderr__ is not None and not faulthandler.is_enabled():
        # with lit_cnn.data.decoding.crash_report, names an image file that kills the process
        faulthandler.enable(sys.__stderr__, all_threads=False)
    spell_settings_by(as_flags)
    with handle_sigterm(), report_errors(debug), one_report():
        _check_working_folder()
        _dispatch(words, debug)
        sys.stdout.flush()  # what cannot be written is an error now, and not when Python ends


def _check_working_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the working folder does not exist any more: cd to one that does") from error


def _dispatch(words: list[str], debug: bool) -> None:
    name = COMMAND_ALIASES.get(words[0], words[0])
    if name not in COMMANDS:
        hint = command_hint(name) or nearest(name, [*COMMANDS, *COMMAND_ALIASES]) or ";"
        raise UserError(f"unknown command {words[0]!r}{hint} lit-cnn --help lists the commands")
    module = COMMANDS[name].module
    if module == "run":
        if words[-2:] == ["--help", "all"]:
            words = words[:-1]
        elif "--help" in words or "-h" in words:
            print(run_help(name), end="")
            return
        elif has_flag(words, "--verify_resume"):
            module = "verify_resume"
    with _no_garbage_collection():
        command = importlib.import_module(f"lit_cnn.cli.commands.{module}")
    command.main([name, *words[1:]], debug)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Importing torch and the like makes objects that stay: looking for garbage among them costs half a second."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Callable(ModuleType):
    """This module: ``from lit_cnn.cli import main`` gives it, and a script that calls it goes on working."""

    def __call__(self, args: Sequence[str] | None = None) -> None:
        """Run one command, see :func:`main`."""
        main(args)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    main()
