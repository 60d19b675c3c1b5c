"""What a sweep has found: a table for the terminal, results.csv, and the comparison page."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lit_cnn import run_folder
from lit_cnn.cli.commands.compare import compare
from lit_cnn.cli.sweep_launcher import summary
from lit_cnn.errors import UserError
from lit_cnn.results.report.facts import FACTS
from lit_cnn.results.run_state import read_state
from lit_cnn.tuner.sweep import Sweep, SweepRun
from lit_cnn.tuner.sweep_settings import SEED, Settings
from lit_cnn.utils.console import say
from lit_cnn.utils.files import atomic_write

TEST = "test/acc"
MOST_COMPARED = 40  # runs, above which the pairs are too many to be told apart


class Result(NamedTuple):
    """How a run of a sweep ended.

    Attributes:
        run: its name and settings.
        metric: that chooses the best epoch.
        best: its best value; None: unknown.
        tested: test accuracy of the best checkpoint; None: not tested.
        epochs: complete ones.
        seconds: of training; None: unknown.
        state: as ``lit-cnn runs`` has it.
    """

    run: SweepRun
    metric: str
    best: float | None
    tested: float | None
    epochs: int
    seconds: float | None
    state: str


def result_of(sweep: Sweep, run: SweepRun) -> Result:
    """Read a run's folder."""
    found = summary(sweep, run.name)
    folder = sweep.run_folder(run.name)
    facts = read_state(folder).get(FACTS)
    seconds = facts.get("seconds") if isinstance(facts, dict) else None
    return Result(run, found.metric, found.best, _test_score(folder), found.epochs, seconds, found.state)


def _test_score(run: Path) -> float | None:
    try:
        score = json.loads((run / "test" / "metrics.json").read_text(encoding="utf-8"))[TEST]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return float(score) if isinstance(score, (int, float)) else None


def report(sweep: Sweep, runs: Sequence[SweepRun], test: bool) -> None:
    """Print the table of a sweep and write its files.

    Args:
        sweep: it.
        runs: those to show.
        test: whether they were tested.
    """
    results = [result_of(sweep, run) for run in runs]
    _write_csv(sweep.folder / "results.csv", results)
    say("\n".join(table(results)))
    say(f"table: {run_folder.format_path(sweep.folder / 'results.csv')}")
    folders = [sweep.run_folder(result.run.name) for result in results if result.best is not None]
    if not 2 <= len(folders) <= MOST_COMPARED:
        return
    try:
        lines, sentence = compare(folders, "test" if test else "validate", sweep.folder)
    except UserError as error:  # their images differ, or there are no predictions, as of a sweep over splits
        say(f"not compared: {error}")
        return
    if len({_key(result.run.settings) for result in results}) > 1:
        say(sentence)
    say(lines[-2])


def _key(settings: Settings) -> str:
    return json.dumps({name: value for name, value in settings.items() if name != SEED}, sort_keys=True)


def table(results: Sequence[Result]) -> list[str]:
    """Lines of the table: a row for each setting, with mean and standard deviation over its seeds."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(_key(result.run.settings), []).append(result)
    names = {key: _settings_text(members[0].run.settings) for key, members in groups.items()}
    room = min(max(len("settings"), *map(len, names.values())), 36)
    metric = next((result.metric for result in results if result.best is not None), "val/acc")
    tested = any(result.tested is not None for result in results)
    head = f"{'settings':{room}}  {metric:22}" + (f"  {TEST:22}" if tested else "") + "  seconds a run"
    lines = [head.rstrip()]
    for key, members in groups.items():
        text = names[key] if len(names[key]) <= room else names[key][: room - 2] + ".."
        line = f"{text:{room}}  {_spread([each.best for each in members]):22}"
        if tested:
            line += f"  {_spread([each.tested for each in members]):22}"
        seconds = [each.seconds for each in members if each.seconds is not None]
        lines.append((line + (f"  {np.mean(seconds):.0f}" if seconds else "")).rstrip())
    return lines


def _settings_text(settings: Settings) -> str:
    words = [f"{name.rpartition('.')[2]}={value}" for name, value in settings.items() if name != SEED]
    return " ".join(words) or "all seeds"


def _spread(values: Sequence[float | None]) -> str:
    """Mean, standard deviation (n - 1) and number of the known values."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return f"{known[0]:.4f}" if known else "-"
    return f"{np.mean(known):.4f} ± {np.std(known, ddof=1):.4f} ({len(known)})"


def _write_csv(path: Path, results: Sequence[Result]) -> None:
    names = list(dict.fromkeys(name for result in results for name in result.run.settings))
    with atomic_write(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", *names, "metric", "best", TEST, "epochs", "seconds", "state"])
        for result in results:
            values: list[Any] = [result.run.settings.get(name, "") for name in names]
            ends = (result.metric, result.best, result.tested, result.epochs, result.seconds, result.state)
            writer.writerow([result.run.name, *values, *("" if end is None else end for end in ends)])
