"""What a training run leaves of its best epoch, and what its page tells of its start."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_cnn.cli.main import main
from lit_cnn.results.gallery import read_gallery
from lit_cnn.results.report.facts import FACTS
from lit_cnn.results.run_state import read_state
from tests.conftest import LENET, TINY, write_pictures

RUN = Path("lightning_logs", "version_0")


def predictions(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_best_epochs_predictions_are_those_that_validate_gives_for_best_ckpt(workdir):
    main(["fit", *LENET, "--epochs=3"])
    main(["validate", "--ckpt_path=best", "--raw"])
    own, again = predictions(RUN / "val" / "predictions.csv"), predictions(RUN / "validate" / "predictions.csv")
    for rows in (own, again):
        for row in rows:
            for name in ("prediction_set", "ood_score", "ood"):  # of the checkpoint, which `val` does without
                row.pop(name, None)
    assert own == again
    scores = json.loads((RUN / "val" / "metrics.json").read_text())
    assert scores["accuracy"] == pytest.approx(json.loads((RUN / "validate" / "metrics.json").read_text())["val/acc"])
    assert not (RUN / "val" / "outputs.npz").exists()
    assert {path.name for path in RUN.glob("*.jpg")} == {"train_batch.jpg", "val_predictions.jpg", "worst.jpg"}
    assert (RUN / "report.html").is_file()


def test_a_run_whose_last_epochs_are_worse_keeps_the_best_one_over_a_resume(workdir):
    main(["fit", *LENET, "--epochs=2"])
    before = (RUN / "val" / "predictions.csv").read_bytes()
    # nothing that is learned from now on is any good
    main(["fit", "--resume", "--epochs=3", "--lr=1000"])
    scores = [float(row["val/acc"]) for row in predictions(RUN / "metrics.csv")]
    assert scores[2] < max(scores[:2])
    assert (RUN / "val" / "predictions.csv").read_bytes() == before


def test_pictures_are_the_images_of_their_rows(workdir):
    for number in range(36):
        path = workdir / "photos" / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (7 * number, 80 * (number % 3), 255 - 7 * number)).save(path)
    words = ["--data=ImageFolder", "--data-dir=photos", "--img-size=32", "-b=8", "--epochs=1", "--optimizer=adamw"]
    words += ["--model.backbone=convnet_pooled", "--model.backbone_args={widths: [4], dilations: [1]}"]
    main(["fit", *words, "--trainer.enable_progress_bar=false"])
    main(["test", "--ckpt_path=best"])
    rows, gallery = predictions(RUN / "test" / "predictions.csv"), read_gallery(RUN / "test" / "pictures.zip")
    assert len(gallery.pictures) == len(rows) == 6
    for row, content in gallery.pictures.items():
        Path("picture.jpg").write_bytes(content)
        shown = np.asarray(Image.open("picture.jpg").convert("RGB")).mean((0, 1))
        original = np.asarray(Image.open(Path("photos", rows[row]["file"]))).mean((0, 1))
        assert np.abs(shown - original).max() < 3  # JPEG's rounding; other images differ by 7
    wrong = {i for i, row in enumerate(rows) if row["correct"] == "false"}
    assert gallery.cams.keys() == gallery.neighbours.keys() == wrong
    assert gallery.searched == 27
    for near in gallery.neighbours.values():
        assert [name.split("/")[0] for name, *_ in near] == [label for _, label, _, _ in near]
        assert near[0][2] >= near[1][2] >= near[2][2]
        assert all(Path("photos", name).is_file() for name, *_ in near)


def test_the_training_batch_is_shown_mixed_and_drawing_it_changes_no_bit(workdir, monkeypatch):
    words = [*TINY, "--model.mixup_alpha=1", "--data.augment={crop_padding: 1}", "--epochs=1"]
    main(["fit", *words])
    monkeypatch.setattr("lit_cnn.callbacks.train_batch.TrainBatch.on_train_batch_start", lambda *_: None)
    main(["fit", *words])
    assert (RUN / "train_batch.jpg").is_file()
    other = RUN.with_name("version_1")
    assert not (other / "train_batch.jpg").exists()
    assert (RUN / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()


def test_a_run_of_several_labels_has_a_page_without_pictures_of_its_validation(workdir):
    write_pictures(workdir / "photos", 20)
    lines = [f"{i}.png,{'a' if i % 2 else 'a|b'}" for i in range(20)]
    names = sorted(path.name for path in (workdir / "photos").iterdir())
    lines = [f"photos/{name},{line.split(',')[1]}" for name, line in zip(names, lines, strict=True)]
    Path("list.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    main(["fit", "list.csv", "--data.label_delimiter=|", "--epochs=1", "--img-size=16",
          "--model.backbone=convnet_pooled", "--trainer.enable_progress_bar=false"])  # fmt: skip
    assert (RUN / "train_batch.jpg").is_file()
    assert not (RUN / "val").exists()
    page = (RUN / "report.html").read_text()
    assert 'id="confusion"' not in page
    main(["test", "--ckpt_path=best"])
    assert "val/map" in (RUN / "report.html").read_text()


def test_run_json_tells_what_is_trained_on_what_and_a_resume_adds_its_time(workdir):
    main(["fit", *TINY, "--epochs=1"])
    facts = read_state(RUN)[FACTS]
    assert ["model.lr", 0.1, 0.003, "flag"] in facts["settings"]
    assert facts["images"]["classes"] == [str(i) for i in range(10)]
    assert sum(facts["images"]["counts"]["train"]) == 1259
    network = facts["network"]
    assert network["parameters"] == network["trained"] > 100
    assert (network["image"], network["macs"] > 1000) == ([1, 8, 8], True)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d [+-]\d{4}$", facts["began"])
    main(["fit", "--resume", "--epochs=2"])
    resumed = read_state(RUN)[FACTS]
    assert resumed["seconds"] > facts["seconds"]
    assert resumed["settings"] == facts["settings"]
    assert resumed["began"] == facts["began"]


def test_a_head_on_cached_features_shows_the_images_that_they_were_computed_of(workdir):
    plain = [*TINY, "--epochs=1", "--data.augment=null"]
    main(["fit", *plain])
    main(["fit", *plain, "--freeze=backbone", "--model.cache_features=true"])
    pictures = [run / "train_batch.jpg" for run in (RUN, RUN.with_name("version_1"))]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_a_network_that_cannot_be_explained_is_tested_all_the_same(workdir, capsys, monkeypatch):
    def fail(*args: object) -> None:
        raise RuntimeError("no gradient here")

    monkeypatch.setattr("lit_cnn.callbacks.gallery.grad_cam", fail)
    main(["fit", *TINY, "--epochs=1"])
    main(["test", "--ckpt_path=best"])
    assert "no heat maps on the page: RuntimeError: no gradient here" in capsys.readouterr().err
    gallery = read_gallery(RUN / "test" / "pictures.zip")
    assert not gallery.cams
    assert gallery.neighbours


def test_predict_leaves_the_page_of_the_run_alone(workdir, capsys):
    main(["fit", *TINY, "--epochs=1"])
    before = (RUN / "report.html").stat().st_mtime_ns
    write_pictures(workdir / "new", 2)
    capsys.readouterr()
    main(["predict", "--ckpt_path=best", "new"])
    assert "page:" not in capsys.readouterr().out
    assert (RUN / "report.html").stat().st_mtime_ns == before


def test_a_page_that_cannot_be_written_is_said_and_the_run_ends_well(workdir, capsys):
    main(["fit", *TINY, "--epochs=1"])
    (RUN / "report.html").unlink()
    (RUN / "report.html").mkdir()
    main(["test", "--ckpt_path=best"])
    assert "report.html was not written: " in capsys.readouterr().err
    assert (RUN / "test" / "metrics.json").is_file()
