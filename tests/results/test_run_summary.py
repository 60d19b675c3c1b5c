from __future__ import annotations

import json

import pytest
import yaml

from lit_cnn.results.run_state import NAME, describe, read_state, write_state
from lit_cnn.results.run_summary import summarize

CONFIG = {
    "trainer": {"max_epochs": 3, "max_steps": -1},
    "model": {"backbone": "resnet18"},
    "data": {"class_path": "lit_cnn.data.ImageFolder", "init_args": {"data_dir": "some/photos/"}},
    "checkpoint": {"monitor": "val/loss", "mode": "min"},
}
METRICS = "epoch,step,val/loss,val/acc,train/loss\n0,9,0.5,0.7,2.0\n1,19,0.25,0.8,1.0\n1,25,nan,,\n"


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "baseline"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "metrics.csv").write_text(METRICS)
    return folder


def test_settings_are_described_by_what_they_train():
    assert describe(CONFIG) == {
        "backbone": "resnet18", "data": "photos/", "epochs": 3, "steps": None, "monitor": "val/loss", "mode": "min",
    }  # fmt: skip
    assert describe({"data": {"class_path": "CIFAR10"}})["data"] == "CIFAR10"
    assert describe({"trainer": None, "data": "no"})["backbone"] == "?"


@pytest.mark.parametrize(
    ("recorded", "locked", "state"),
    [
        ({"state": "finished"}, False, "finished"),
        ({"state": "stopped"}, False, "stopped"),
        ({"state": "failed", "reason": "no disk"}, False, "failed"),
        ({"state": "training"}, True, "training"),
        ({"state": "training"}, False, "killed"),
        ({"state": "starting"}, False, "killed"),
        ({"state": "training"}, None, "unknown"),
        ({}, True, "training"),
    ],
)
def test_the_state_is_what_the_run_wrote_and_whether_it_still_holds_its_lock(recorded, locked, state, run):
    write_state(run, **describe(CONFIG), **recorded)
    summary = summarize(run, locked)
    assert (summary.state, summary.reason) == (state, recorded.get("reason", ""))


@pytest.mark.parametrize(("epochs", "state"), [(2, "finished"), (3, "stopped")])
def test_runs_of_versions_without_a_record_are_read_from_config_and_metrics(epochs, state, run):
    (run / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "trainer": {"max_epochs": epochs}}))
    (run / "events.out.tfevents.1795672483.vm.7461.0").touch()
    summary = summarize(run, False)
    assert (summary.backbone, summary.data, summary.epochs, summary.epochs_asked) == ("resnet18", "photos/", 2, epochs)
    assert (summary.metric, summary.best, summary.steps, summary.state) == ("val/loss", 0.25, 26, state)
    assert (summary.checkpoints, summary.started) == (["last"], 1795672483.0)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"state": 3, "epochs": "x", "backbone": null}', "\udcff\x00"])
def test_damaged_files_leave_a_summary_of_what_is_left(damage, run):
    for name in (NAME, "config.yaml", "metrics.csv"):
        (run / name).write_bytes(damage.encode("utf-8", "surrogateescape"))
    summary = summarize(run, False)
    assert (summary.name, summary.best, summary.epochs) == ("baseline", None, 0)


def test_a_folder_in_the_place_of_a_file_is_as_if_it_were_missing(run):
    for name in (NAME, "config.yaml"):
        (run / name).mkdir()
    assert summarize(run, None).state == "unknown"


def test_what_becomes_none_is_removed_and_the_rest_kept(run):
    write_state(run, started=1.0, reason="x")
    write_state(run, reason=None, state="training")
    assert json.loads((run / NAME).read_text()) == {"started": 1.0, "state": "training"} == read_state(run)
    assert list(run.glob(".*partial")) == []
