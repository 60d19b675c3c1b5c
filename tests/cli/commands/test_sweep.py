"""``lit-cnn sweep`` and ``fit --seeds``: ordinary runs, a table, a page; killed and started again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.sweep import _seeds, read_axis, read_axis_range, read_sweep_file
from lit_cnn.cli.main import main
from lit_cnn.cli.sweep_launcher import Launcher
from lit_cnn.cli.sweep_search import Trials
from lit_cnn.errors import UserError
from lit_cnn.results.run_state import write_state
from lit_cnn.tuner.sweep import Sweep
from tests.conftest import TINY, state_differences

LOGS = Path("lightning_logs")
WORDS = [word for word in TINY if "progress_bar" not in word]


@pytest.fixture
def in_process(monkeypatch):
    """Runs of a sweep are trained in this process, which saves their start; returns their command lines."""
    lines: list[list[str]] = []

    def run(self, words, environment, ends):
        lines.append(list(words))
        main(list(words))
        return ends()

    monkeypatch.setattr(Launcher, "_run", run)
    return lines


def test_seeds_give_ordinary_runs_and_their_mean_and_spread(workdir, in_process, capsys):
    main(["fit", *WORDS, "--epochs=1", "--seeds=2", "--seed=5", "--name=mine"])
    out = capsys.readouterr().out
    assert sorted(path.name for path in LOGS.iterdir()) == ["mine-seed5", "mine-seed6"]
    rows = list(csv.DictReader(Path("sweeps", "mine", "results.csv").read_text().splitlines()))
    assert [row["seed_everything"] for row in rows] == ["5", "6"]
    scores = [float(row["best"]) for row in rows]
    assert all(row["state"] == "finished" for row in rows)
    deviation = abs(scores[0] - scores[1]) / 2**0.5
    assert f"all seeds  {sum(scores) / 2:.4f} ± {deviation:.4f} (2)" in out
    assert Path("sweeps", "mine", "compare.html").is_file()
    # the same bits as a run of its own
    main(["fit", *WORDS, "--epochs=1", "--seed=6", "--name=alone"])
    last = Path("checkpoints", "last.ckpt")
    assert not state_differences(LOGS / "alone" / last, LOGS / "mine-seed6" / last)
    del in_process[:]
    main(["fit", *WORDS, "--epochs=1", "--seeds=2", "--seed=5", "--name=mine"])
    assert in_process == []
    assert "2 runs, 2 of them done" in capsys.readouterr().out


def test_a_file_a_test_of_each_run_and_one_that_failed(workdir, in_process, capsys, monkeypatch):
    Path("depth.yaml").write_text("grid: {model.label_smoothing: [0, 0.1]}\ntest: true\n")
    words = ["sweep", "depth.yaml", *WORDS, "--epochs=1"]
    run = Launcher._run

    def breaks(self, words, environment, ends):
        if "--model.label_smoothing=0.1" in words:
            from lit_cnn.tuner.sweep import RunFailedError

            raise RunFailedError("the disk is full")
        return run(self, words, environment, ends)

    monkeypatch.setattr(Launcher, "_run", breaks)
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    out, error = capsys.readouterr()
    assert "sweep-label_smoothing0.1 failed: the disk is full" in error
    assert "1 of 2 runs failed; the same command tries these again" in error
    assert "test/acc" in out
    monkeypatch.setattr(Launcher, "_run", run)
    main(words)
    rows = list(csv.DictReader(Path("sweeps", "sweep", "results.csv").read_text().splitlines()))
    assert [row["model.label_smoothing"] for row in rows] == ["0", "0.1"]
    for row in rows:
        scores = json.loads((LOGS / row["run"] / "test" / "metrics.json").read_text())
        assert float(row["test/acc"]) == scores["test/acc"]
    assert "page: " in capsys.readouterr().out


@pytest.mark.slow
def test_a_search_keeps_its_trials_and_goes_on_where_it_was(workdir, in_process, capsys):
    pytest.importorskip("optuna")
    words = ["sweep", *WORDS, "--epochs=1", "--range=wd=1e-5..1e-2", "--grid=model.label_smoothing=0,0.1"]
    words += ["--minimize=val/loss"]
    main([*words, "--search=2"])
    main([*words, "--search=3"])
    out = capsys.readouterr().out
    assert "3 trials, 2 of them done" in out
    rows = list(csv.DictReader(Path("sweeps", "search", "results.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == [f"search-trial{i}" for i in range(3)]
    best = min(float(row["best"]) for row in rows)
    assert all(1e-5 <= float(row["model.weight_decay"]) <= 1e-2 for row in rows)
    assert f"best val/loss {best:.4f}: lit-cnn fit " in out


def test_trials_whose_worker_was_killed_are_resumed_told_or_dropped(tmp_path):
    optuna = pytest.importorskip("optuna")
    sweep = Sweep(tmp_path, "s", [], exact=True)
    study = optuna.create_study(direction="minimize")

    def trials() -> Trials:
        return Trials(sweep, study, 3, "val/loss", {}, {"model.lr": (0.1, 0.2)})

    def killed(claim):
        claim.lock.release()
        folder = sweep.run_folder(claim.run.name)
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("epoch,step,val/loss\n0,1,0.5\n1,2,0.25\n")
        return folder

    source = trials()
    finished, cut = source.claim(), source.claim()
    write_state(killed(finished), state="finished")
    killed(cut)
    study.ask()  # killed before it had chosen its settings
    again = trials()
    claim = again.claim()
    assert claim.run == cut.run
    killed(claim)  # leaves what a run that ends does
    again.end(claim, None)
    assert again.left()
    third = again.claim()  # in the place of the one without settings
    assert third.run.name == "s-trial3"
    killed(third)
    again.end(third, None)
    assert not again.left()
    states = [(trial.state.name, trial.value) for trial in study.trials]
    assert states == [("COMPLETE", 0.25), ("COMPLETE", 0.25), ("FAIL", None), ("COMPLETE", 0.25)]


def test_a_trial_that_another_worker_is_about_to_report_is_left_to_it(tmp_path):
    optuna = pytest.importorskip("optuna")
    sweep = Sweep(tmp_path, "s", [], exact=True)
    study = optuna.create_study()
    own, other = (Trials(sweep, study, 1, "val/loss", {}, {"model.lr": (0.1, 0.2)}) for _ in range(2))
    claim = own.claim()
    folder = sweep.run_folder(claim.run.name)
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("epoch,step,val/loss\n0,1,0.5\n")
    write_state(folder, state="finished")
    assert other.claim() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns of an epoch that is reported twice
        assert [own.prune(claim) for _ in range(2)] == [False, False]
    own.end(claim, None)
    assert study.trials[0].intermediate_values == {0: 0.5}
    assert [trial.value for trial in study.trials] == [0.5]


@pytest.mark.slow
def test_a_killed_sweep_trains_nothing_twice_and_resumes_the_half_run_exactly(workdir):
    words = ["sweep", *WORDS, "--epochs=12", "--checkpoint_every=5", "--seeds=2", "--name=s"]
    command = [sys.executable, "-m", "lit_cnn", *words]
    process = subprocess.Popen(command, start_new_session=True)
    last = LOGS / "s-seed42" / "checkpoints" / "last.ckpt"
    while not last.is_file():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert json.loads((LOGS / "s-seed42" / "run.json").read_text())["state"] == "training"
    subprocess.run(command, check=True)
    assert sorted(path.name for path in LOGS.iterdir()) == ["s-seed42", "s-seed43"]
    log = (LOGS / "s-seed42" / "log.txt").read_text()
    assert "--resume" in log
    main(["fit", *WORDS, "--epochs=12", "--name=alone"])
    assert not state_differences(LOGS / "alone" / "checkpoints" / "last.ckpt", last)


@pytest.mark.slow
def test_a_stopped_sweep_lets_its_runs_save(workdir):
    words = ["sweep", *WORDS, "--epochs=500", "--seeds=2", "--jobs=2", "--name=s"]
    process = subprocess.Popen([sys.executable, "-m", "lit_cnn", *words], stderr=subprocess.PIPE, text=True)
    lasts = [LOGS / f"s-seed{seed}" / "checkpoints" / "last.ckpt" for seed in (42, 43)]
    while not all(last.is_file() for last in lasts):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    error = process.communicate()[1]
    assert process.returncode == 143, error
    assert "the same command continues the sweep" in error
    for last in lasts:
        assert json.loads((last.parent.parent / "run.json").read_text())["state"] == "stopped"


def test_values_of_a_grid_are_yaml_and_names_may_be_short():
    assert read_axis("lr=0.1,1e-2") == ("model.lr", [0.1, "1e-2"])
    assert read_axis("b=16,32") == ("data.batch_size", [16, 32])
    assert read_axis("model.tta=null,flip") == ("model.tta", [None, "flip"])
    assert read_axis("model.backbone_args={depth: 20},{depth: 56}") == (
        "model.backbone_args",
        [{"depth": 20}, {"depth": 56}],
    )
    assert read_axis_range("lr=1e-4..1e-1") == ("model.lr", (1e-4, 1e-1))
    assert read_axis_range("epochs=5..20") == ("trainer.max_epochs", (5, 20))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs=1"], "nothing to sweep over: give --grid NAME=VALUE,VALUE, --seeds N or a file; see --help"),
        (["--grid", "lr"], "--grid lr: expected NAME=VALUE,VALUE such as lr=0.1,0.01"),
        (["--grid=lr=1,2", "--lr=3"], "model.lr is in the grid and among the words of fit: give it once"),
        (["--seeds=0"], "--seeds 0: expected a whole number of seeds, at least 1"),
        (["--seeds=2", "--resume"], "--resume is for a single run: leave it out; the same sweep again resumes"),
        (["--seeds=2", "--print_config"], "--print_config is for a single run: lit-cnn fit takes it"),
        (["--seeds=2", "--range=lr=1..2"], "--range, --minimize and --maximize belong to --search N"),
        (["--range=lr=2..1", "--search=3"], "--range lr=2..1: expected NAME=LOW..HIGH such as lr=1e-4..1e-1"),
        (["--search=3"], "--search needs what it may choose"),
        (["missing.yaml"], "cannot open missing.yaml: No such file or directory"),
        (["--grid=lr=1,2", "--jobs=0"], "--jobs 0: expected a whole number of runs, at least 1"),
    ],
)
def test_a_mistake_is_one_line(workdir, fails, words, message):
    pytest.importorskip("optuna")
    assert fails("sweep", *words).startswith(message)
    assert not Path("lightning_logs").exists()


def test_a_mistake_in_the_settings_ends_the_sweep_at_its_first_run(workdir, fails, monkeypatch):
    from lit_cnn.tuner.sweep import RunFailedError

    def refuse(self, words, environment, ends):
        raise RunFailedError("unknown setting model.lrr, did you mean model.lr?", mistake=True)

    monkeypatch.setattr(Launcher, "_run", refuse)
    assert fails("sweep", *WORDS, "--grid=model.lrr=1,2") == "unknown setting model.lrr, did you mean model.lr?"


def test_seeds_are_counted_from_that_of_a_config_and_words_of_a_file_may_be_quoted(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("seed_everything: 7\n")
    file = tmp_path / "s.yaml"
    file.write_text(f"fit: --config '{config}' --data.class_names '[a, b]'\n")
    words = read_sweep_file(file)["fit"]
    assert words == ["--config", str(config), "--data.class_names", "[a, b]"]
    assert _seeds(2, parse(["fit", *words])) == [7, 8]
    assert _seeds(2, parse(["fit", *words, "--seed=3"])) == [3, 4]
    assert _seeds(1, parse(["fit"])) == [42]


def test_seeds_belong_to_fit(workdir, fails):
    assert fails("test", "--seeds=3") == "--seeds trains with several seeds and has no effect on test: leave it out"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "a sweep's file holds fit, grid, name, runs, seeds, test"),
        ("grids: {lr: [1]}", "unknown key 'grids'; a sweep's file holds"),
        ("grid: {lr: 1}", "grid must hold a list of values for each setting"),
        ("runs: {lr: 1}", "runs must be a list of settings"),
        ("grid: [", "is no YAML"),
        ("name: a/b", "holds a slash"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path, content, message):
    path = tmp_path / "sweep.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_sweep_file(path)
