"""``lit-cnn sweep --search N``: Optuna chooses the settings of runs by the results of those before.

The study is stored in ``sweeps/NAME/optuna.db`` (SQLite), which ``optuna-dashboard sqlite:///sweeps/NAME/optuna.db``
shows and further workers share. A trial that was cut off is resumed by whoever continues the search.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lit_cnn.cli.flag_values import whole_number
from lit_cnn.cli.sweep_launcher import Launcher, train_all
from lit_cnn.cli.sweep_summary import report
from lit_cnn.errors import UserError
from lit_cnn.results.metrics_csv import read_metrics
from lit_cnn.tuner.sweep import Claim, RunFailedError, Sweep, SweepRun
from lit_cnn.tuner.sweep_settings import Settings
from lit_cnn.utils.console import say

STORE = "optuna.db"
DEFAULT_METRIC = "val/acc"


def search(
    sweep: Sweep,
    own: argparse.Namespace,
    axes: Mapping[str, Sequence[Any]],
    ranges: Mapping[str, tuple[float, float]],
    seeds: Sequence[int],
    listed: Sequence[Settings],
    launcher: Launcher,
    jobs: int,
) -> None:
    """Train until ``own.search`` trials are complete, and print the best ones.

    Args:
        sweep: whose runs the trials are.
        own: the command's own flags.
        axes: settings to choose among given values.
        ranges: settings to choose between two bounds.
        seeds: not taken.
        listed: not taken.
        launcher: trains a run.
        jobs: trials at a time.

    Raises:
        UserError: Optuna is missing, or the flags contradict each other.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("--search needs Optuna: pip install 'lit-cnn[optuna]'") from error
    if seeds or listed:
        raise UserError("--search chooses one run at a time: leave out --seeds and runs")
    if not axes and not ranges:
        raise UserError("--search needs what it may choose: --range lr=1e-4..1e-1 or --grid optimizer=sgd,adamw")
    count = whole_number("--search", "trials")(own.search)
    metric, direction = objective(own)
    sweep.add([])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{sweep.folder / STORE}",
        study_name=sweep.name,
        direction=optuna.study.StudyDirection[direction.upper()],
        load_if_exists=True,
    )
    if study.direction.name.lower() != direction:
        raise UserError(f"{sweep.folder} is a search that does not {direction}: choose another --name")
    source = Trials(sweep, study, count, metric, axes, ranges)
    launcher.watch = source.prune
    say(f"search {sweep.name}: {count} trials, {source.complete()} of them done")
    train_all(launcher, source, jobs)
    report(
        sweep, [source.run_of(trial) for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()], False
    )
    with contextlib.suppress(ValueError):  # no trial is complete
        best = study.best_trial
        chosen = " ".join(f"--{name}={json.loads(value)}" for name, value in best.user_attrs["settings"].items())
        say(f"best {metric} {best.value:.4f}: lit-cnn fit {' '.join(sweep.words)} {chosen}")


def objective(own: argparse.Namespace) -> tuple[str, str]:
    """The metric of a search, and minimize or maximize.

    Raises:
        UserError: both are given.
    """
    if own.minimize and own.maximize:
        raise UserError("give --minimize or --maximize, not both")
    return (own.minimize, "minimize") if own.minimize else (own.maximize or DEFAULT_METRIC, "maximize")


def monitor_words(own: argparse.Namespace) -> list[str]:
    """Words of fit that let it keep the best checkpoint by the metric of the search."""
    metric, direction = objective(own)
    return [f"--checkpoint.monitor={metric}", f"--checkpoint.mode={direction[:3]}"]


class Trials:
    """A source of runs whose settings Optuna chooses.

    Args:
        sweep: whose runs they are.
        study: of Optuna.
        count: trials to complete, over all workers.
        metric: column of metrics.csv that is optimized.
        axes: settings to choose among given values.
        ranges: settings to choose between two bounds, by the logarithm where these are 10 times apart.
    """

    def __init__(
        self,
        sweep: Sweep,
        study: Any,
        count: int,
        metric: str,
        axes: Mapping[str, Sequence[Any]],
        ranges: Mapping[str, tuple[float, float]],
    ) -> None:
        self.sweep, self.study, self.count, self.metric = sweep, study, count, metric
        self.axes, self.ranges = axes, ranges
        self._trials: dict[str, Any] = {}  # those that this worker trains, by the run's name
        self._pruned: set[str] = set()
        self.failures: list[str] = []

    def complete(self) -> int:
        """Trials that are done, pruned ones too."""
        return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in self.study.get_trials(deepcopy=False))

    def _counted(self) -> int:
        """The same and those that are being trained."""
        return sum(trial.state.name != "FAIL" for trial in self.study.get_trials(deepcopy=False))

    def claim(self) -> Claim | None:
        """A trial that was cut off, else a new one."""
        import optuna

        for frozen in self._running():
            run = self.run_of(frozen)
            if run.name in self._trials or "settings" not in frozen.user_attrs:
                continue
            if claim := self._claim(run, optuna.trial.Trial(self.study, frozen._trial_id)):
                return claim
        with self.sweep.lock():
            for frozen in self._running():
                if "settings" not in frozen.user_attrs:  # its worker was killed while it held this lock
                    self.study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)
            if self._counted() >= self.count or len(self.failures) > 2:
                return None
            trial = self.study.ask()
            settings = {name: self._suggest(trial, name) for name in (*self.axes, *self.ranges)}
            trial.set_user_attr("settings", {name: json.dumps(value) for name, value in settings.items()})
        run = self.run_of(trial)
        return self._claim(run, trial)

    def _running(self) -> list[Any]:
        import optuna

        return list(self.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]))

    def _claim(self, run: SweepRun, trial: Any) -> Claim | None:
        claim = self.sweep.claim(run)
        if claim is None and self.sweep.is_finished(run.name) and (lock := self.sweep.take(run.name)) is not None:
            try:  # nobody holds it: its worker was killed before it said how the run has ended
                if any(each.number == trial.number for each in self._running()):
                    self._tell(trial, self._value(run.name))
            finally:
                lock.release()
        if claim is not None:
            self._trials[run.name] = trial
        return claim

    def _suggest(self, trial: Any, name: str) -> Any:
        if name in self.axes:
            values = {json.dumps(value): value for value in self.axes[name]}  # Optuna stores plain values only
            return values[trial.suggest_categorical(name, list(values))]
        low, high = self.ranges[name]
        wide = low > 0 and high >= 10 * low
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(name, low, high, log=wide)
        return trial.suggest_float(name, low, high, log=wide)

    def run_of(self, trial: Any) -> SweepRun:
        """The run of a trial."""
        settings = {name: json.loads(value) for name, value in trial.user_attrs.get("settings", {}).items()}
        return SweepRun(f"{self.sweep.name}-trial{trial.number}", settings)

    def prune(self, claim: Claim) -> bool:
        """Report the epochs that a run has finished; whether it is so far behind the others that it should end."""
        trial, values = self._trials[claim.run.name], self._values(claim.run.name)
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values  # also by an earlier worker
        for epoch, value in enumerate(values):
            if epoch not in known and math.isfinite(value):
                trial.report(value, epoch)
        if values and trial.should_prune():
            self._pruned.add(claim.run.name)
            return True
        return False

    def end(self, claim: Claim, error: RunFailedError | None) -> None:
        """Tell Optuna how a trial has ended.

        Raises:
            UserError: its settings are wrong, and no trial has succeeded yet.
        """
        import optuna

        name = claim.run.name
        trial, value = self._trials.pop(name), self._value(name)
        if name in self._pruned:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif error is not None or value is None:
            self._tell(trial, None)
            line = error.line if error is not None else f"it has no {self.metric}, which the search optimizes"
            if error is not None and error.mistake and not self.complete():
                raise UserError(line)
            say(f"{name} failed: {line}", error=True)
            self.failures.append(line)
        else:
            self._tell(trial, value)

    def _tell(self, trial: Any, value: float | None) -> None:
        """Tell Optuna the value of a trial; None: it failed."""
        import optuna

        failed = optuna.trial.TrialState.FAIL
        self.study.tell(trial.number, value, state=failed if value is None else None)

    def left(self) -> bool:
        """Whether trials are left."""
        return self.complete() < self.count and len(self.failures) <= 2

    def _values(self, name: str) -> list[float]:
        try:
            rows = read_metrics(self.sweep.run_folder(name) / "metrics.csv")[1]
        except OSError:
            return []
        values = []
        for row in rows:
            with contextlib.suppress(KeyError, ValueError):  # not measured at this step
                values.append(float(row[self.metric]))
        return values

    def _value(self, name: str) -> float | None:
        """The best value of a run."""
        values = [value for value in self._values(name) if math.isfinite(value)]
        better = min if self.study.direction.name == "MINIMIZE" else max
        return better(values) if values else None
