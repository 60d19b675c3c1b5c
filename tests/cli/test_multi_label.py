"""A list with several labels an image, from training to predictions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lit_cnn
from lit_cnn.cli.main import main
from tests.cli.helpers import QUIET, rows, run_command
from tests.conftest import EVERY_STEP, load, state_differences

COLORS = {"blue": (30, 30, 230), "green": (30, 200, 30), "red": (230, 30, 30)}
SMALL = ["--data=ImageList", "--data-dir=list.csv", "--img-size=16", "-b=16", "--data.augment.crop_scale=[0,0]", QUIET]
SMALL += ["--model.backbone=convnet_pooled", "--model.backbone_args={widths: [8], dilations: [1]}", "--optimizer=adamw"]
SMALL += ["--lr=0.02"]


@pytest.fixture
def photos(workdir: Path) -> Path:
    """Grey pictures with squares of up to three colors, and their list."""
    rng, lines = np.random.default_rng(0), []
    (workdir / "images").mkdir()
    for number in range(120):
        picture, labels = np.full((16, 16, 3), 128, np.uint8), []
        for column, (name, color) in enumerate(COLORS.items()):
            if rng.random() < 0.5 or (column == 2 and not labels):
                row = rng.integers(0, 11)
                picture[row : row + 5, 5 * column : 5 * column + 5] = color
                labels.append(name)
        Image.fromarray(picture).save(workdir / "images" / f"{number:03d}.png")
        lines.append((f"images/{number:03d}.png", "|".join(labels)))
    with (workdir / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "labels"), *lines])
    return workdir


def test_a_list_with_several_labels_is_learned_tested_predicted_and_loaded(photos, capsys):
    main(["fit", *SMALL, "--epochs=20"])
    run = photos / "lightning_logs" / "version_0"
    (state,) = (v for v in load(run / "checkpoints" / "best.ckpt")["callbacks"].values() if "best_model_score" in v)
    assert float(state["best_model_score"]) == pytest.approx(
        max(float(r["val/map"]) for r in rows(run / "metrics.csv"))
    )
    assert {"val/acc", "val/f1", "val/map", "train/acc"} <= rows(run / "metrics.csv")[-1].keys()
    main(["test", "--ckpt_path=best"])
    content = json.loads((run / "test" / "metrics.json").read_text())
    assert content["average_precision_macro"] > 0.85
    assert content["test/map"] == pytest.approx(content["average_precision_macro"], abs=2e-2)
    table = rows(run / "test" / "predictions.csv")
    assert list(table[0]) == ["file", "true", "predicted", "correct", "blue", "green", "red"]
    right = sum(row["true"] == row["predicted"] for row in table) / len(table)
    assert content["accuracy"] == right == pytest.approx(content["test/acc"])
    assert "mean of all labels" in capsys.readouterr().out
    main(["predict", "--ckpt_path=best", "images/000.png", "images/001.png"])
    assert "2 predictions" in capsys.readouterr().out
    found = rows(run / "predict" / "predictions.csv")
    loaded = lit_cnn.load("best").predict(["images/000.png", "images/001.png"])
    for row, prediction in zip(found, loaded, strict=True):
        assert row["true"] == ""
        assert sorted(row["predicted"].split("|")) == sorted(prediction.labels)
        assert prediction.probabilities["red"] == pytest.approx(float(row["red"]), abs=1e-6)


def test_a_run_resumes_to_the_same_bits(photos):
    words = ["--epochs=2", "--model.mixup_alpha=0.2", "--model.class_weights=balanced", "--model.loss=focal"]
    main(["fit", *SMALL, *words, *EVERY_STEP])
    run = photos / "lightning_logs" / "version_0" / "checkpoints"
    (run / "step4.ckpt").rename(photos / "middle.ckpt")
    main(["fit", "--ckpt_path=middle.ckpt", "--trainer.default_root_dir=again"])
    again = photos / "again" / "lightning_logs" / "version_0" / "checkpoints"
    last = f"step{load(again / 'last.ckpt')['global_step']}.ckpt"
    assert last != "step4.ckpt"
    assert state_differences(run / last, again / last) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.sampling=balanced"], "--data.sampling balanced needs one label an image"),
        (["--model.loss=mse_softmax"], "--model.loss mse_softmax is for one class an image"),
        (["--model.multilabel=true"], "it comes from the data"),
    ],
)
def test_what_needs_one_label_an_image_is_one_line(words, message, photos, fails):
    assert message in fails("fit", *SMALL, "--epochs=1", *words)


def test_a_network_learns_from_another_ones_labels(photos):
    main(["fit", *SMALL, "--epochs=12"])
    main(["fit", *SMALL, "--epochs=6", "--model.teacher=lightning_logs/version_0", "--model.distill_weight=1"])
    found = rows(photos / "lightning_logs" / "version_1" / "metrics.csv")
    losses = [float(row["train/loss_distill"]) for row in found]
    assert losses[-1] < 0.7 * losses[0]
    assert float(found[-1]["val/map"]) > 0.7


@pytest.mark.slow
def test_two_ranks_measure_what_one_does(photos):
    run_command(photos, "fit", *SMALL, "--epochs=2")
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    run_command(photos, "test", "--ckpt_path=best")
    run_command(photos, "test", "--ckpt_path=best", *two)
    run = photos / "lightning_logs" / "version_0"
    for name in ("metrics.json", "predictions.csv", "per_class.csv"):
        assert (run / "test" / name).read_bytes() == (run / "test_2" / name).read_bytes()
