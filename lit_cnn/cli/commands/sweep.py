"""``lit-cnn sweep``: train over a grid of settings, several seeds, or values that a search chooses."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from lit_cnn.cli.argv import Arguments, canonical, parse
from lit_cnn.cli.checkpoint_argument import given_root
from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.config import find_config, last_value
from lit_cnn.cli.flag_values import whole_number
from lit_cnn.cli.run_name import read_run_name
from lit_cnn.cli.sweep_launcher import Launcher, train_all
from lit_cnn.cli.sweep_search import monitor_words, search
from lit_cnn.cli.sweep_summary import report
from lit_cnn.errors import UserError
from lit_cnn.tuner import sweep as sweeps
from lit_cnn.tuner.sweep import Listed, Sweep
from lit_cnn.tuner.sweep_settings import SEED, grid
from lit_cnn.utils.console import say

EPILOG = """\
All other words are those of lit-cnn fit. Every run is an ordinary one in
lightning_logs; its name begins with the sweep's. The same command again does
what is left: nothing is trained twice, and a run that was cut off is resumed
exactly. Started several times, also on several machines that share the
folder, it divides the runs between them.

a file of a sweep holds any of
  fit: --config resnet18_cifar --epochs 20
  name: depth
  grid: {model.backbone: [plain18, resnet18], lr: [0.1, 0.01]}
  runs: [{model.optimizer: sgd, lr: 0.1}, {model.optimizer: adamw}]
  seeds: 3
  test: true

examples:
  lit-cnn sweep --config lenet_digits --grid lr=0.1,0.01 --seeds 3
  lit-cnn sweep photos --grid backbone=resnet18,vgg11 --grid b=16,32 --jobs 2
  lit-cnn sweep depth.yaml
  lit-cnn sweep photos --search 20 --maximize val/acc --range lr=1e-4..1e-1
"""
KEYS = {"fit", "name", "grid", "runs", "seeds", "test"}
_ENDS = ("resume", "ckpt_path", "budget", "verify_resume")


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``.

    Raises:
        UserError: a mistake in them, or runs that failed.
    """
    own, fit = _parser().parse_known_args(words[1:])
    file: dict[str, Any] = {}
    if fit and fit[0].endswith((".yaml", ".yml")):
        file = read_sweep_file(Path(fit.pop(0)))
    fit = [*file.get("fit", []), *fit]
    if "-h" in fit or "--help" in fit:  # after a word of fit's
        _parser().print_help()
        return
    arguments = parse(["fit", *fit])
    arguments.configs = [find_config(config) for config in arguments.configs]
    _check(arguments)
    axes = file.get("grid", {}) | dict(map(read_axis, own.grid))
    listed = file.get("runs", [])
    ranges = dict(map(read_axis_range, own.range))
    seeds = _seeds(own.seeds or file.get("seeds"), arguments)
    for name in {*axes, *ranges, *(name for each in listed for name in each), *([SEED] if seeds else [])}:
        if name != SEED and name in arguments.names():
            raise UserError(f"{name} is in the grid and among the words of fit: give it once")
    searching = own.search is not None
    if not (axes or listed or seeds or searching):
        raise UserError("nothing to sweep over: give --grid NAME=VALUE,VALUE, --seeds N or a file; see --help")
    name = own.name or file.get("name")
    default = "search" if searching else "sweep" if axes or listed else "seeds"
    shared = _without_seed(arguments, seeds) + (monitor_words(own) if searching else [])
    sweep = Sweep(given_root(arguments) or Path(), name or default, shared, exact=bool(name))
    test = own.test or bool(file.get("test"))
    imports = [f"--allow_import={package}" for package in arguments.allow_import]
    jobs, devices = _jobs(own.jobs)
    if searching:
        search(sweep, own, axes, ranges, seeds, listed, Launcher(sweep, imports, test, jobs, devices), jobs)
        return
    if own.minimize or own.maximize or ranges:
        raise UserError("--range, --minimize and --maximize belong to --search N, which is missing")
    runs = sweep.add(grid(axes, listed, seeds))
    launcher = Launcher(sweep, imports, test, jobs, devices)
    source = Stopping(sweep, runs)
    done = sum(sweep.is_finished(run.name) for run in runs)
    say(f"sweep {sweep.name}: {len(runs)} runs{f', {done} of them done' * bool(done)}")
    train_all(launcher, source, jobs)
    if test:
        for run in runs:  # done by an earlier sweep without tests, or cut off between
            if run.name not in source.failed:
                with source.noting(run.name):
                    launcher.evaluate(run.name)
    report(sweep, runs, test)
    if source.failed:
        say("\n".join(f"{run} failed: {line}" for run, line in source.failed.items()), error=True)
        raise UserError(f"{len(source.failed)} of {len(runs)} runs failed; the same command tries these again")


class Stopping(Listed):
    """A source of given runs that ends the sweep where the first one fails by a mistake, as the others would."""

    def end(self, claim: sweeps.Claim, error: sweeps.RunFailedError | None) -> None:
        """Remember a failed run.

        Raises:
            UserError: its settings are wrong, and no other run has succeeded yet.
        """
        if error is not None and error.mistake and not any(self.sweep.is_finished(run.name) for run in self.runs):
            raise UserError(error.line)
        super().end(claim, error)

    @contextlib.contextmanager
    def noting(self, name: str) -> Iterator[None]:
        """Remember a run whose test fails."""
        try:
            yield
        except sweeps.RunFailedError as error:
            self.failed[name] = error.line


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="lit-cnn sweep",
        usage="lit-cnn sweep [FILE] [--grid NAME=VALUES ...] [--seeds N] [FIT WORDS ...]",
        description="Train over a grid of settings, several seeds, or values that a search chooses.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--grid", action="append", default=[], metavar="NAME=A,B", help="values of a setting; repeated: all pairs")
    add("--seeds", metavar="N", help="train each with so many seeds, counted from --seed")
    add("--jobs", metavar="N", help="runs at a time; default: GPUs, else 1; auto: GPUs, else cores")
    add("--test", action="store_true", help="test the best checkpoint of each run, and compare these tests")
    add("--name", type=read_run_name, help="of the sweep (default: sweep, seeds or search)")
    add("--search", metavar="N", help="let Optuna choose the settings of N runs")
    add("--range", action="append", default=[], metavar="NAME=A..B", help="a range to search: lr=1e-4..1e-1")
    add("--minimize", metavar="METRIC", help="what the search minimizes, such as val/loss")
    add("--maximize", metavar="METRIC", help="what the search maximizes (default: val/acc)")
    return parser


def read_axis(text: str) -> tuple[str, list[Any]]:
    """Setting and values of ``NAME=VALUE,VALUE``; a value may be a list or a mapping in YAML's brackets.

    Raises:
        UserError: it has another form.
    """
    name, equals, values = text.partition("=")
    if not name.strip() or not equals or not values.strip():
        raise UserError(f"--grid {text}: expected NAME=VALUE,VALUE such as lr=0.1,0.01")
    try:
        found = yaml.safe_load(f"[{values}]")
    except yaml.YAMLError:
        found = values.split(",")
    return setting_name(name), [_plain(value) for value in found]


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, list, dict)) or value is None else str(value)


def setting_name(name: str) -> str:
    """The full name of a setting: ``lr`` is ``model.lr``."""
    name = name.strip().lstrip("-")
    return canonical(f"-{name}" if len(name) == 1 else f"--{name}").lstrip("-")


def read_axis_range(text: str) -> tuple[str, tuple[float, float]]:
    """Setting and bounds of ``NAME=A..B``; whole numbers have a range of whole numbers.

    Raises:
        UserError: it has another form.
    """
    name, _, bounds = text.partition("=")
    try:
        low, high = (int(part) if part.strip().isdigit() else float(part) for part in bounds.split(".."))
    except ValueError:
        low, high = 1, 0
    if not name.strip() or not low < high:
        raise UserError(f"--range {text}: expected NAME=LOW..HIGH such as lr=1e-4..1e-1")
    return setting_name(name), (low, high)


def read_sweep_file(path: Path) -> dict[str, Any]:
    """A file of a sweep, with full names of settings and ``fit`` as words.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not content.keys() <= KEYS:
        wrong = sorted(map(str, content.keys() - KEYS)) if isinstance(content, dict) else []
        named = f"unknown key {wrong[0]!r}; " if wrong else ""
        raise UserError(f"{path}: {named}a sweep's file holds {', '.join(sorted(KEYS))}; see lit-cnn sweep --help")
    fit = content.get("fit", [])
    content["fit"] = shlex.split(fit) if isinstance(fit, str) else [str(word) for word in fit]
    axes, runs = content.get("grid", {}), content.get("runs", [])
    if not isinstance(axes, dict) or not all(isinstance(values, list) and values for values in axes.values()):
        raise UserError(f"{path}: grid must hold a list of values for each setting, such as lr: [0.1, 0.01]")
    if not isinstance(runs, list) or not all(isinstance(run, dict) and run for run in runs):
        raise UserError(f"{path}: runs must be a list of settings, such as [{{lr: 0.1}}, {{lr: 0.01}}]")
    content["grid"] = {setting_name(str(name)): values for name, values in axes.items()}
    content["runs"] = [{setting_name(str(name)): value for name, value in run.items()} for run in runs]
    if "name" in content:
        content["name"] = read_run_name(str(content["name"]))
    return content


def _check(arguments: Arguments) -> None:
    """Refuse words of fit that contradict a sweep.

    Raises:
        UserError: naming one.
    """
    if given := next((name for name in _ENDS if getattr(arguments, name) is not None), None):
        raise UserError(f"--{given} is for a single run: leave it out; the same sweep again resumes what was cut off")
    if arguments.bare:
        raise UserError(f"{arguments.bare[0]} is for a single run: lit-cnn fit takes it")


def _seeds(count: Any, arguments: Arguments) -> list[int]:
    if count is None:
        return []
    number = whole_number("--seeds", "seeds")(str(count))
    given = last_value(arguments, SEED)  # of a flag or a config
    first = "42" if given is None else str(given)
    if not first.isdigit():
        raise UserError(f"--seed {first}: seeds are counted from it; give a whole number")
    return list(range(int(first), int(first) + number))


def _without_seed(arguments: Arguments, seeds: Sequence[int]) -> list[str]:
    """The words that all runs share."""
    named = [("--config", arguments.configs), ("--allow_import", arguments.allow_import)]
    own = [f"{flag}={value}" for flag, values in named for value in values]
    return own + [f"{flag}={value}" for flag, value in arguments.flags if not (seeds and flag == f"--{SEED}")]


def _jobs(text: str | None) -> tuple[int, int]:
    """How many runs at a time, and the number of GPUs."""
    if text is not None and text != "auto":
        jobs = whole_number("--jobs", "runs")(text)
        return jobs, _gpus() if jobs > 1 else 0
    gpus = _gpus()
    if gpus or text is None:
        return max(1, gpus), gpus
    return os.cpu_count() or 1, 0


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
