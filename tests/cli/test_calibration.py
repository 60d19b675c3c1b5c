"""A trained checkpoint's temperature and sets, in the commands that use them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch

from lit_cnn.checkpoint.record import CALIBRATION, HASH, KEY, load_verified, read_record
from lit_cnn.cli.main import main

from .helpers import QUIET, copy_of


def results(folder: Path) -> tuple[list[dict[str, str]], dict]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file)), json.loads((folder / "metrics.json").read_text())


def test_raw_leaves_the_probabilities_and_both_predict_the_same_classes(trained, workdir, capsys):
    run = copy_of(trained, workdir)
    stored = read_record(run / "checkpoints" / "best.ckpt").calibration
    assert stored["images"] == 179
    assert stored["temperature"] != 1
    main(["test", "--ckpt_path=best", QUIET])
    assert "with temperature" in " ".join(capsys.readouterr().out.split())
    main(["test", "--ckpt_path=best", "--raw", QUIET])
    (warm, better), (raw, plain) = results(run / "test"), results(run / "test_2")
    assert [row["predicted"] for row in warm] == [row["predicted"] for row in raw]
    assert [row["probability"] for row in warm] != [row["probability"] for row in raw]
    assert better["accuracy"] == plain["accuracy"]
    assert better["test/loss"] == plain["test/loss"]
    assert better["ece_raw"] == plain["ece"]
    assert better["temperature"] == stored["temperature"]
    assert "prediction_set" in warm[0]
    assert "prediction_set" not in raw[0]
    assert not {"temperature", "set_size"} & plain.keys()


def test_checkpoints_of_earlier_versions_have_a_temperature_of_1(trained, workdir):
    run = copy_of(trained, workdir)
    path = run / "checkpoints" / "best.ckpt"
    content = load_verified(path)
    for key in (CALIBRATION, HASH):
        content[KEY].pop(key, None)
    torch.save(content, workdir / "old.ckpt")
    path.unlink()
    (workdir / "old.ckpt").rename(path)
    main(["test", "--ckpt_path=best", QUIET])
    rows, metrics = results(run / "test")
    assert "temperature" not in metrics
    assert 0 <= metrics["ece"] <= 1
    assert "prediction_set" not in rows[0]


def test_raw_is_for_evaluations(workdir, fails):
    assert "--raw has no effect on fit: leave it out" in fails("fit", "--data=Digits", "--raw")
