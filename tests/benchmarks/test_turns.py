"""The speed benchmarks on settings of seconds: their tables and files are complete, and nothing else remains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import epoch, startup, step, time_to_accuracy
from lit_cnn.models import get_model

CASES = {
    "epoch": (epoch, ["--images=400", "--batch-size=32", "--rounds=1", "--skip-torchvision"]),
    "step": (step, ["--backbone=convnet_pooled", "--batch-size=8", "--turns=2"]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_file_holds_every_turn_and_the_ratio(name, workdir: Path, capsys) -> None:
    module, words = CASES[name]
    module.main([*words, f"--json={workdir / 'out.json'}"])
    record = json.loads((workdir / "out.json").read_text())
    ours, reference = record["seconds"][module.OURS], record["seconds"][module.REFERENCE]
    assert len(ours) == len(reference) > 0
    assert record["ratio"] == pytest.approx(record["ratios"][module.OURS])
    assert f"{record['ratio']:.2f}" in capsys.readouterr().out
    assert list(workdir.glob("lightning_logs")) == []


def test_every_command_of_the_start_up_is_timed(workdir: Path, monkeypatch) -> None:
    monkeypatch.setattr(startup.subprocess, "run", lambda command, **kwargs: None)
    startup.main(["--rounds=2", f"--json={workdir / 'out.json'}"])
    seconds = json.loads((workdir / "out.json").read_text())["seconds"]
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys(startup.COMMANDS, 2)


def test_operations_are_those_of_the_network_and_training_is_not_touched_by_counting(workdir: Path) -> None:
    (workdir / "tiny.yaml").write_text("model: {backbone: lenet_maxpool, tta: flip}\ndata: {class_path: Digits}\n")
    words = ["--config=tiny.yaml", "--seeds=3", "--epochs=1", "--device=cpu", f"--json={workdir / 'out.json'}"]
    time_to_accuracy.main(words)
    (row,) = json.loads((workdir / "out.json").read_text())["runs"]
    assert {"accuracy", "accuracy_without_averaging", "seconds"} <= row.keys()
    network = get_model("lenet_maxpool", num_classes=10, in_channels=1)
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 28, 28))
    tested = round((row["pflop"] - row["pflop_training"]) * 1e15 / 2 / counter.get_total_flops())
    assert 350 <= tested <= 365  # a fifth of 1,797
    # backwards twice the forward's work, but for the first layer, which needs no gradient of the images
    per_image = row["pflop_training"] * 1e15 / counter.get_total_flops()
    assert 2 * 1200 < per_image < 3 * 1300
