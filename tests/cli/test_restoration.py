"""Dehazing from the command line: the data set chooses the task, a checkpoint knows it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run
from lit_cnn.cli.main import main
from tests.conftest import load, state_differences, write_pairs

QUICK = ["--trainer.enable_progress_bar=false", "--batch-size=4", "--img-size=16"]
FIT = ["fit", "--data=DehazePairs", "--model.backbone_args={widths: [4, 8]}", "--lr=0.01", *QUICK]
FIT += ["--data.val_fraction=0.3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a run of three epochs on tiny pairs; not to be changed."""
    root = tmp_path_factory.mktemp("dehaze")
    write_pairs(root / "pairs", 16)
    main([*FIT, f"--data-dir={root / 'pairs'}", "--epochs=3", f"--trainer.default_root_dir={root}"])
    return root


class BrokenError(Exception):
    """What ends a run in a test."""


class BreakAt(Callback):
    """Raise an error after a number of optimizer steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise BrokenError


def run_of(root: Path) -> Path:
    return root / "lightning_logs" / "version_0"


def best(root: Path) -> str:
    return f"--ckpt_path={run_of(root) / 'checkpoints' / 'best.ckpt'}"


def test_the_data_set_alone_chooses_the_task_and_the_checkpoint_knows_it(trained):
    content = load(run_of(trained) / "checkpoints" / "best.ckpt")["lit_cnn"]
    assert content["task"] == "restoration"
    assert content["config"]["model"]["backbone"] == "unet"
    assert content["config"]["checkpoint"]["monitor"] == "val/psnr"
    assert content["preprocessing"]["mean"] == [0.0, 0.0, 0.0]
    with (run_of(trained) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"train/psnr", "val/psnr", "val/psnr_input", "val/ssim", "val/ssim_input"} <= rows[0].keys()
    assert (run_of(trained) / "report.html").is_file()
    assert (run_of(trained) / "train_batch.jpg").is_file()


def test_test_needs_the_checkpoint_alone_and_writes_the_scores_of_each_photo(trained, tmp_path, capsys):
    main(["test", best(trained), f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false"])
    out = tmp_path / "lightning_logs" / "version_0" / "test"
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"hazy/{i}.jpg" for i in (13, 14, 15)]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["images"] == 3
    for name in ("psnr", "ssim", "psnr_input", "ssim_input"):
        assert metrics[f"test/{name}"] == pytest.approx(np.mean([float(row[name]) for row in rows]), abs=1e-4)
    assert metrics["psnr_gain"] == pytest.approx(metrics["test/psnr"] - metrics["test/psnr_input"], abs=1e-3)
    assert (out / "triples.zip").is_file()
    assert "PSNR of hazy/13.jpg" in capsys.readouterr().out


def test_validate_gives_the_score_that_training_logged(trained, tmp_path):
    main(["validate", best(trained), f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false"])
    metrics = json.loads((tmp_path / "lightning_logs" / "version_0" / "validate" / "metrics.json").read_text())
    with (run_of(trained) / "metrics.csv").open() as file:
        logged = [float(row["val/psnr"]) for row in csv.DictReader(file)]
    assert metrics["val/psnr"] == pytest.approx(max(logged), abs=1e-6)


def test_predict_writes_whole_photos_of_any_size_whole_or_in_tiles(trained, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (51, 34, 3)), ("b.jpg", (7, 9, 3)), ("sub/a.png", (20, 20, 3))):
        (photos / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(photos / name)
    (photos / "broken.png").write_bytes(b"no image")
    pictures = []
    for number, tile in enumerate(("null", "16")):
        root = tmp_path / str(number)
        main(["predict", best(trained), str(photos), f"--model.tile={tile}", f"--trainer.default_root_dir={root}"])
        out = root / "lightning_logs" / "version_0" / "predict"
        with (out / "predictions.csv").open() as file:
            written = {row["file"]: out / row["restored"] for row in csv.DictReader(file)}
        assert [Path(file).relative_to(photos).as_posix() for file in written] == ["a.png", "b.jpg", "sub/a.png"]
        assert sorted(path.name for path in written.values()) == ["000000_a.png", "000003_a.png", "b.png"]
        assert "broken.png" in (out / "bad_images.csv").read_text()
        pictures.append({file: np.asarray(Image.open(path)).astype(int) for file, path in written.items()})
    for file, picture in pictures[0].items():
        assert picture.shape == np.asarray(Image.open(file)).shape
        assert abs(pictures[1][file] - picture).max() <= 1


def test_a_run_stopped_in_an_epoch_ends_with_the_bits_of_one_that_was_not(trained, tmp_path):
    words = [*FIT, f"--data-dir={trained / 'pairs'}", f"--trainer.default_root_dir={tmp_path}"]
    with pytest.raises(BrokenError):  # in the third of the six steps
        run(parse([*words, "--epochs=3", "--checkpoint_every=1"]), callbacks=[BreakAt(3)])
    main(["fit", "--resume", f"--trainer.default_root_dir={tmp_path}"])
    assert state_differences(*(run_of(root) / "checkpoints" / "last.ckpt" for root in (trained, tmp_path))) == []


def test_other_folders_of_pairs_are_tested_whole(trained, tmp_path):
    write_pairs(tmp_path / "other", 6)
    main(["test", best(trained), f"--data-dir={tmp_path / 'other'}", f"--trainer.default_root_dir={tmp_path}"])
    metrics = json.loads((tmp_path / "lightning_logs" / "version_0" / "test" / "metrics.json").read_text())
    assert metrics["images"] == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["test", "--data=Digits"],
            "restores images, and the images of Digits are for a network that classifies images",
        ),
        (["predict", "--predictions=-", "photos"], "--predictions is for classes, and"),
        (["predict", "--save-images", "photos"], "--save-images is for classes, and"),
        (["explain", "photos/00.jpg"], "restores images and has no classes, which explain needs"),
        (["serve", "--port=0"], "restores images and has no classes, which serve needs"),
    ],
)
def test_what_needs_classes_is_refused_in_a_line(
    trained, tmp_path, monkeypatch, fails: Callable[..., str], words, message
):
    monkeypatch.chdir(write_pairs(tmp_path, 1))
    (tmp_path / "hazy").rename(tmp_path / "photos")
    assert message in fails(words[0], best(trained), *words[1:])


def test_a_classifiers_checkpoint_does_not_read_pairs(trained, tmp_path, monkeypatch, fails: Callable[..., str]):
    monkeypatch.chdir(tmp_path)
    main(["fit", "--data=Digits", "--model.backbone=lenet", "--steps=1", "--trainer.enable_progress_bar=false"])
    line = fails("test", "--ckpt_path=last", "--data=DehazePairs", f"--data-dir={trained / 'pairs'}")
    assert "classifies images, and the images of DehazePairs are for a network that restores images" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--checkpoint.monitor=val/acc"], "nothing is measured as 'val/acc'"),
        (["--model.label_smoothing=0.1"], "label_smoothing"),
        (["--model.backbone=lenet"], "lenet"),
        (["--model.loss=cross_entropy"], "--model.loss is 'cross_entropy': choose l1, mse or l1_ssim"),
        (["--data-dir=nowhere"], "nowhere"),
    ],
)
def test_settings_of_classifiers_are_refused_in_a_line(trained, tmp_path, monkeypatch, fails, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in fails(*FIT, f"--data-dir={trained / 'pairs'}", *words)
    assert not list(tmp_path.glob("lightning_logs/*"))


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(trained, tmp_path):
    two = ["--trainer.devices=2", "--trainer.strategy=ddp_fork", "--device=cpu"]
    found = []
    for words in ([], two):
        root = tmp_path / str(len(words))
        main(
            ["test", best(trained), f"--trainer.default_root_dir={root}", "--trainer.enable_progress_bar=false", *words]
        )
        out = root / "lightning_logs" / "version_0" / "test"
        found.append((json.loads((out / "metrics.json").read_text()), (out / "scores.csv").read_text()))
    assert found[0] == found[1]
