"""Sweeps: what is trained, under which name, and that nothing is trained twice."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from lit_cnn.errors import UserError
from lit_cnn.results.run_state import FINISHED, STOPPED, write_state
from lit_cnn.tuner.sweep import Claim, Listed, RunFailedError, Sweep, work
from lit_cnn.tuner.sweep_settings import flags, grid, name_parts
from lit_cnn.utils.files import file_lock


def train(sweep: Sweep, claim: Claim, state: str = FINISHED) -> None:
    """Leave what a run of fit leaves."""
    checkpoints = sweep.run_folder(claim.run.name) / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    (checkpoints / "last.ckpt").touch()
    write_state(checkpoints.parent, state=state)


def test_a_grid_is_every_combination_and_each_listed_run_is_combined_with_it():
    assert grid({"a": [1, 2], "b": ["x"]}, seeds=[7, 8]) == [
        {"a": 1, "b": "x", "seed_everything": 7},
        {"a": 1, "b": "x", "seed_everything": 8},
        {"a": 2, "b": "x", "seed_everything": 7},
        {"a": 2, "b": "x", "seed_everything": 8},
    ]
    assert grid({}, [{"c": 1}, {"d": 2}], seeds=[3]) == [{"c": 1, "seed_everything": 3}, {"d": 2, "seed_everything": 3}]
    assert grid({"a": [1]}) == [{"a": 1}]


def test_names_say_what_a_run_has_of_its_own():
    settings = {"model.backbone": "timm/resnet18", "model.lr": 0.1, "model.tta": None, "seed_everything": 42}
    assert name_parts(settings) == ["timm-resnet18", "lr0.1", "ttaNone", "seed42"]
    assert name_parts({"model.lr": "1e-3"}) == ["lr1e-3"]


def test_settings_become_flags_that_yaml_reads_back():
    settings = {"model.lr": 0.1, "model.tta": None, "data.download": True, "model.backbone": "vgg11", "a.b": [1, 2]}
    assert list(flags(settings)) == [
        "--model.lr=0.1", "--model.tta=null", "--data.download=true", "--model.backbone=vgg11", "--a.b=[1, 2]",
    ]  # fmt: skip


def test_the_same_sweep_gives_its_runs_the_same_names_and_a_larger_grid_adds_some(tmp_path):
    first = Sweep(tmp_path, "s", ["--epochs=1"], exact=True).add(grid({"lr": [0.1, 0.2]}))
    again = Sweep(tmp_path, "s", ["--epochs=1"], exact=True).add(grid({"lr": [0.3, 0.2, 0.1]}))
    assert [run.name for run in first] == ["s-lr0.1", "s-lr0.2"]
    assert [run.name for run in again] == ["s-lr0.3", "s-lr0.2", "s-lr0.1"]


def test_names_are_free_of_runs_that_are_none_of_the_sweeps(tmp_path):
    (tmp_path / "lightning_logs" / "s-lr0.1").mkdir(parents=True)
    sweep = Sweep(tmp_path, "s", [], exact=True)
    assert [run.name for run in sweep.add([{"lr": 0.1}, {"lr": "0,1"}])] == ["s-lr0.1_2", "s-0,1"]


def test_another_command_line_is_another_sweep(tmp_path):
    Sweep(tmp_path, "s", ["--epochs=1"], exact=True).add([{"lr": 1}])
    assert Sweep(tmp_path, "s", ["--epochs=2"], exact=False).name == "s_2"
    assert Sweep(tmp_path, "s", ["--epochs=1"], exact=False).name == "s"
    with pytest.raises(UserError, match=r"is a sweep of another command, lit-cnn fit --epochs=1: .* another `name`"):
        Sweep(tmp_path, "s", ["--epochs=2"], exact=True)


@pytest.mark.parametrize("content", ["{", "[]", '{"words": []}', '{"words": [], "runs": {"a": 1}}'])
def test_a_damaged_record_is_named(tmp_path, content):
    path = tmp_path / "sweeps" / "s" / "sweep.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match=r"cannot read .*sweep\.json"):
        Sweep(tmp_path, "s", [], exact=True)


@pytest.mark.parametrize("jobs", [1, 3])
def test_each_run_is_trained_once_and_a_second_sweep_does_nothing(tmp_path, jobs):
    sweep = Sweep(tmp_path, "s", [], exact=True)
    runs, trained, lock = sweep.add(grid({"lr": [1, 2, 3, 4]})), [], threading.Lock()

    def once(claim: Claim) -> None:
        with lock:
            trained.append(claim.run.name)
        train(sweep, claim)

    for _ in range(2):
        work(Listed(sweep, runs), once, jobs, poll=0.01)
    assert sorted(trained) == [run.name for run in runs]


def test_a_run_that_was_cut_off_is_resumed_and_one_without_a_checkpoint_begins_again(tmp_path):
    sweep = Sweep(tmp_path, "s", [], exact=True)
    cut, begun = sweep.add(grid({"lr": [1, 2]}))
    train(sweep, Claim(cut, None, file_lock(tmp_path / "x")), STOPPED)
    leftover = sweep.run_folder(begun.name) / "log.txt"
    leftover.parent.mkdir()
    leftover.touch()
    found: dict[str, Path | None] = {}

    def note(claim: Claim) -> None:
        found[claim.run.name] = claim.resume
        train(sweep, claim)

    work(Listed(sweep, [cut, begun]), note)
    assert found == {cut.name: sweep.run_folder(cut.name) / "checkpoints" / "last.ckpt", begun.name: None}
    assert not leftover.exists()


def test_a_run_that_another_process_trains_is_waited_for_and_not_trained(tmp_path):
    sweep = Sweep(tmp_path, "s", [], exact=True)
    theirs, orphan, ours = sweep.add(grid({"lr": [1, 2, 3]}))
    claimed = sweep.claim(theirs)
    assert claimed is not None
    folder = sweep.run_folder(orphan.name)
    folder.mkdir(parents=True)
    training = file_lock(folder / ".lock").acquire()  # the child of a worker that was killed

    def finish(claim: Claim) -> None:
        assert claim.run == ours
        train(sweep, claim)
        for name in (theirs.name, orphan.name):
            train(sweep, Claim(theirs._replace(name=name), None, claim.lock))
        training.lock.release()
        claimed.lock.release()

    work(Listed(sweep, [theirs, orphan, ours]), finish, poll=0.01)
    assert all(sweep.is_finished(run.name) for run in (theirs, orphan, ours))


def test_a_failed_run_does_not_stop_the_others_and_its_claim_is_released(tmp_path):
    sweep = Sweep(tmp_path, "s", [], exact=True)
    bad, good = sweep.add(grid({"lr": [1, 2]}))

    def one_fails(claim: Claim) -> None:
        if claim.run == bad:
            raise RunFailedError("NaN")
        train(sweep, claim)

    source = Listed(sweep, [bad, good])
    work(source, one_fails)
    assert source.failed == {bad.name: "NaN"}
    assert sweep.is_finished(good.name)
    claim = sweep.claim(bad)
    assert claim is not None
    claim.lock.release()


@pytest.mark.parametrize("jobs", [1, 2])
def test_any_other_error_ends_the_sweep(tmp_path, jobs):
    sweep = Sweep(tmp_path, "s", [], exact=True)

    def broken(claim: Claim) -> None:
        raise LookupError("a bug")

    with pytest.raises(LookupError):
        work(Listed(sweep, sweep.add(grid({"lr": [1, 2]}))), broken, jobs, poll=0.01)


def test_the_record_holds_words_and_settings(tmp_path):
    Sweep(tmp_path, "s", ["--epochs=1"], exact=True).add([{"lr": 1e-3}])
    record = json.loads((tmp_path / "sweeps" / "s" / "sweep.json").read_text())
    assert record == {"words": ["--epochs=1"], "runs": {"s-lr0.001": {"lr": 0.001}}}
