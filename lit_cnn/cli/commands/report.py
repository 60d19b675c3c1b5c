"""``lit-cnn report RUN``: write the page of a run again."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_cnn import run_folder
from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.commands.compare import expand_path, find_run
from lit_cnn.errors import UserError
from lit_cnn.results.report.page import NAME, write_report

EPILOG = """\
fit and test write the page themselves. It is made from the files in the run's
folder, without torch, also of runs of earlier versions, which have fewer of
them, and while a run is training.

examples:
  lit-cnn report                       the newest run
  lit-cnn report baseline              a run by its name
  lit-cnn report baseline -o run.html  one file to hand on
"""


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``.

    Raises:
        UserError: there is no such run, or the page cannot be written.
    """
    parser = CommandParser(
        prog="lit-cnn report",
        description=f"Write {NAME}: one page about a run that needs no network.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="run folder, name or checkpoint; by default the newest")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help=f"by default {NAME} in the run's folder")
    own = parser.parse_args(words[1:])
    run = _newest() if own.run is None else find_run(own.run)
    path = None if own.output is None else expand_path(own.output)
    if path is not None and path.is_dir():
        path = path / NAME
    try:
        page, sentence = write_report(run, path, run_folder.is_locked(run))
    except OSError as error:
        where = path or run / NAME
        raise UserError(f"cannot write {where}: {error.strerror or error}; choose another --output") from error
    print(f"{sentence}\npage: {run_folder.format_path(page)}")


def _newest() -> Path:
    found = run_folder.newest_run(Path())
    if found is None:
        raise UserError(f"no runs in {run_folder.LOGS}: give the folder of a run, or train one with lit-cnn fit")
    return found
