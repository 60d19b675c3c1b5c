from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lit_cnn.cli.commands.runs import main, table
from lit_cnn.results.run_state import write_state
from lit_cnn.results.run_summary import RunSummary

RUN = RunSummary(
    "version_0", "lightning_logs/version_0", "resnet18", "CIFAR10", 3, 10, 1200, None, "val/acc", 0.91234, "finished",
    "", ["best", "last"], 1.7e9,
)  # fmt: skip


def make(root: Path, name: str, **state: object) -> None:
    run = root / "lightning_logs" / name
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    about = {"name": name, "backbone": "lenet", "data": "Digits", "epochs": 2, "monitor": "val/acc", "mode": "max"}
    write_state(run, **{**about, **state})
    (run / "metrics.csv").write_text("epoch,step,val/acc,train/loss\n0,9,0.5,1.0\n1,19,0.75,0.5\n")


def test_runs_are_listed_with_the_newest_last(workdir, capsys):
    make(workdir, "version_1", started=2.0, state="finished", epoch=2, step=20)
    make(workdir, "baseline", started=1.0, state="stopped", epoch=1, step=15)
    make(workdir, "new", started=3.0, state="failed", step=19, reason="set `data.batch_size=8` or so")
    (workdir / "lightning_logs" / "new" / "checkpoints" / "last.ckpt").unlink()
    (workdir / "lightning_logs" / "version_2" / "test").mkdir(parents=True)  # an evaluation
    main(["runs"])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "backbone", "data", "epochs", "best", "started", "state"]
    assert [row.split()[0] for row in rows] == ["baseline", "version_1", "new"]
    assert "1/2  0.7500" in rows[0]
    assert rows[0].endswith("stopped, step 15")
    assert rows[1].endswith("finished")
    assert "failed, step 19, no c.." in rows[2]
    main(["runs", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [(run["name"], run["state"], run["best"]) for run in found][1] == ("version_1", "finished", 0.75)


@pytest.mark.parametrize("words", [["lightning_logs"], ["."], ["--project", "."], []])
def test_the_folder_may_be_the_logs_or_the_one_that_holds_them(words, workdir, capsys):
    make(workdir, "a", state="finished")
    main(["runs", *words])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_no_runs_and_no_folder_are_told(workdir, capsys, fails):
    main(["runs"])
    assert capsys.readouterr().out.startswith("no runs in lightning_logs: lit-cnn fit")
    assert fails("runs", "nope") == "there is no folder nope: give the one that holds lightning_logs"


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("name", ["version_0", "a-name-that-is-rather-long-but-fits", "x" * 80])
@pytest.mark.parametrize("backbone", ["lenet", "torchvision/mobilenet_v3_small"])
@pytest.mark.parametrize("reason", ["", "the training loss is nan in epoch 2, step 12, at learning rate 1e+30"])
def test_lines_fit_the_width_and_names_are_never_cut(width, name, backbone, reason):
    run = RUN._replace(name=name, backbone=backbone, data="a_long_folder_name/", state="failed", reason=reason)
    lines = table([RUN, run], width)
    assert all(len(line) <= max(width, len(name)) for line in lines)
    assert any(line.split()[:1] == [name] for line in lines)
    assert any(line.startswith("version_0 ") and line.endswith("finished") for line in lines)


def test_runs_bounded_by_steps_and_other_metrics_are_named():
    run = RUN._replace(epochs_asked=None, steps_asked=2000, metric="val/loss", best=0.5)
    (_, line) = table([run], 120)
    assert "1200/2000 steps" in line
    assert "val/loss 0.5000" in line


def test_listing_runs_imports_neither_torch_nor_numpy(workdir):
    make(workdir, "a", state="training")
    (workdir / "lightning_logs" / "old").mkdir()
    (workdir / "lightning_logs" / "old" / "config.yaml").write_text("trainer: {max_epochs: 2}\n")
    code = "from lit_cnn.cli.main import main; main(['runs']); import sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "killed" in done.stdout
    assert not {"torch", "numpy", "lightning", "rich"} & set(done.stderr.split())
