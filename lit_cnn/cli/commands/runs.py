"""``lit-cnn runs [DIR]``: list training runs with their best scores and states, without importing torch."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from lit_cnn import run_folder
from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.errors import as_flags
from lit_cnn.errors import UserError
from lit_cnn.results.run_state import FAILED, FINISHED, STOPPED, TRAINING, read_state
from lit_cnn.results.run_summary import KILLED, RunSummary, summarize

COLUMNS = ("name", "backbone", "data", "epochs", "best", "started", "state")
NUMBERS = ("epochs", "best")
SHRINKABLE = ("backbone", "data")  # to the length of LEAST letters
LEAST = 9
OPTIONAL = ("started", "data", "backbone", "epochs")  # left out in this order
EPILOG = """\
epochs: complete and asked for; best: highest val/acc, or the metric named there
state:  training, finished, stopped (Ctrl-C or a signal), failed (an error) or
        killed; unknown where the file system has no locks

examples:
  lit-cnn runs                       the newest last
  lit-cnn runs experiments           those of --project experiments
  lit-cnn fit --resume baseline      resume one, by its name or its beginning
  lit-cnn test --ckpt_path baseline  test its best checkpoint
"""


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``.

    Raises:
        UserError: there is no such folder.
    """
    parser = CommandParser(
        prog="lit-cnn runs",
        description="List training runs, the newest last.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dir", nargs="?", type=Path, help="folder that holds lightning_logs; by default this one")
    parser.add_argument("--project", type=Path, metavar="DIR", help="the same")
    parser.add_argument("--json", action="store_true", help="print all that is known, as JSON")
    arguments = parser.parse_args(words[1:])
    root = _root(arguments.dir or arguments.project or Path())
    found = [_summary(run) for run in run_folder.run_folders(root) if run_folder.holds_training(run)]
    if arguments.json:
        print(json.dumps([run._asdict() for run in found], indent=2))
    elif not found:
        where = "" if root == Path() else f" --project {root}"
        print(f"no runs in {root / run_folder.LOGS}: lit-cnn fit --config lenet_digits{where} makes one")
    else:
        print("\n".join(table(found, _width())))


def _root(folder: Path) -> Path:
    folder = folder.expanduser()
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give the one that holds {run_folder.LOGS}")
    if (folder / run_folder.LOGS).is_dir() or folder.absolute().name != run_folder.LOGS:
        return folder
    return folder.absolute().parent


def _summary(run: Path) -> RunSummary:
    ended = read_state(run).get("state") in (FINISHED, STOPPED, FAILED)
    return summarize(run, False if ended else run_folder.is_locked(run))


def _width() -> int:
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80


def table(runs: list[RunSummary], width: int) -> list[str]:
    """Lines of the table of runs, none longer than ``width`` unless a name is.

    A name that leaves too little room for the rest has a line of its own; a narrow table has fewer columns.
    """
    rows = [_cells(run) for run in runs]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in COLUMNS}
    widths["state"] = len("finished")  # what is longer is cut to the room that is left
    widths["name"] = max([len("name"), *(len(row["name"]) for row in rows if len(row["name"]) <= width // 4)])
    for name in SHRINKABLE:
        widths[name] -= max(0, min(_excess(widths, width), widths[name] - LEAST))
    for name in OPTIONAL:
        if _excess(widths, width) > 0:
            del widths[name]
    lines = []
    for row in ({name: name for name in COLUMNS}, *rows):
        if len(row["name"]) > widths["name"]:
            lines.append(row["name"])
            row["name"] = ""
        line = ""
        for name, room in list(widths.items())[:-1]:
            cell = _cut(row[name], room)
            line += (cell.rjust(room) if name in NUMBERS else cell.ljust(room)) + "  "
        lines.append((line + _cut(row["state"], max(width - len(line), len("finished")))).rstrip())
    return lines


def _excess(widths: dict[str, int], width: int) -> int:
    return sum(widths.values()) + 2 * (len(widths) - 1) - width


def _cells(run: RunSummary) -> dict[str, str]:
    by_steps = run.steps_asked is not None and run.epochs_asked is None
    done, asked = (run.steps, run.steps_asked) if by_steps else (run.epochs, run.epochs_asked)
    best = "-" if run.best is None else f"{run.best:.4f}"
    return {
        "name": run.name,
        "backbone": run.backbone,
        "data": run.data,
        "epochs": f"{done}/{asked}{' steps' * by_steps}" if asked is not None else str(done),
        "best": best if run.metric == "val/acc" or run.best is None else f"{run.metric} {best}",
        "started": "-" if run.started is None else _when(run.started),
        "state": _state(run),
    }


def _when(started: float) -> str:
    at, now = time.localtime(started), time.localtime()
    return time.strftime("%b %d %H:%M" if at.tm_year == now.tm_year else "%Y-%m-%d", at)


def _state(run: RunSummary) -> str:
    text = run.state
    if run.state in (STOPPED, KILLED, FAILED) and run.steps:
        text += f", step {run.steps}"
    if not run.checkpoints and run.state != TRAINING:
        text += ", no checkpoint"
    return f"{text}: {as_flags(run.reason)}" if run.reason else text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."
