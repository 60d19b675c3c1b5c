"""metrics.csv: complete after every save, one row a step, and the same file whether a run was interrupted or not."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lit_cnn.callbacks import MetricsCSV
from lit_cnn.callbacks.csv_logger import read_metrics
from tests.callbacks.tiny_run import TinyData, TinyModel, tiny_trainer


class TellLoggers(Callback):
    """What the command line does when training starts."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            logger.resume_at(trainer.global_step)  # type: ignore[attr-defined]


class StatefulData(TinyData):
    """Its loader resumes in the middle of an epoch: all its batches are of equal content but for the order."""

    def train_dataloader(self) -> Any:
        loader = super().train_dataloader()
        loader.batches = [loader.batches[0]] * 4
        loader.state_dict, loader.load_state_dict = dict, lambda state: None
        return loader


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fit(run_dir: Path, *callbacks: Callback, ckpt_path: Path | None = None, **settings: Any) -> Trainer:
    trainer = tiny_trainer(TellLoggers(), *callbacks, logger=MetricsCSV(run_dir), **settings)
    trainer.fit(TinyModel(), datamodule=StatefulData(), ckpt_path=ckpt_path)
    return trainer


def test_training_and_validation_of_an_epoch_share_a_row(tmp_path: Path) -> None:
    fit(tmp_path)
    rows = table(tmp_path / "metrics.csv")
    assert list(rows[0])[:2] == ["epoch", "step"]
    assert [(row["epoch"], row["step"]) for row in rows] == [(str(step // 4), str(step)) for step in range(12)]
    for row in rows[3::4]:
        assert all(row[name] for name in ("lr", "train/loss", "train/acc", "val/loss", "val/acc"))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_resumed_from_any_checkpoint_leaves_the_file_of_an_uninterrupted_one(
    tmp_path: Path, accumulate: int
) -> None:
    saved = tmp_path / "saved"
    every_step = ModelCheckpoint(saved, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    every_epoch = ModelCheckpoint(
        saved, filename="val-{step}", monitor="val/loss", save_top_k=-1, save_on_train_epoch_end=False
    )
    last = ModelCheckpoint(saved, filename="end-{step}", save_top_k=-1, save_on_train_epoch_end=True)
    settings = {"accumulate_grad_batches": accumulate, "max_epochs": 2}
    fit(tmp_path, every_step, every_epoch, last, enable_checkpointing=True, **settings)
    whole = (tmp_path / "metrics.csv").read_bytes()
    checkpoints = sorted(saved.glob("*.ckpt"))
    assert len(checkpoints) == {1: 12, 3: 8}[accumulate]
    for checkpoint in checkpoints:
        again = tmp_path / checkpoint.stem
        again.mkdir()
        shutil.copy(tmp_path / "metrics.csv", again)
        fit(again, ckpt_path=checkpoint, **settings)
        assert (again / "metrics.csv").read_bytes() == whole, checkpoint.name


def test_resuming_drops_the_rows_that_will_be_written_again_and_keeps_the_others_byte_for_byte(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    for step in range(6):
        first.log_metrics({"epoch": step // 2, "train/loss": 1 / (step + 1)}, step)
        first.save()
    before = first.path.read_bytes().splitlines()
    second = MetricsCSV(tmp_path)
    second.resume_at(4)
    assert second.path.read_bytes().splitlines() == before[:5]
    second.log_metrics({"epoch": 2, "train/loss": 0.5}, 4)
    second.save()
    assert [row["step"] for row in table(second.path)] == ["0", "1", "2", "3", "4"]


def test_an_existing_file_is_continued_even_if_nobody_says_that_the_run_is_resumed(tmp_path: Path) -> None:
    for step in range(3):
        logger = MetricsCSV(tmp_path)
        logger.log_metrics({"epoch": 0, "train/loss": 0.25}, step)
        logger.finalize("success")
    assert [row["step"] for row in table(tmp_path / "metrics.csv")] == ["0", "1", "2"]


def test_a_new_metric_extends_the_header_and_loses_nothing(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"epoch": 0, "a": 1.5}, 0)
    logger.save()
    again = MetricsCSV(tmp_path)
    again.log_metrics({"epoch": 0, "b": 2.5}, 1)
    again.save()
    assert table(again.path) == [
        {"epoch": "0", "step": "0", "a": "1.5", "b": ""},
        {"epoch": "0", "step": "1", "a": "", "b": "2.5"},
    ]


def test_the_file_is_complete_after_every_save(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    expected: dict[int, dict[str, float]] = {}
    rng = np.random.default_rng(0)
    for step in [0, 0, 1, 2, 2, 2, 3, 1, 4, 5, 5]:  # 1 comes a second time, late
        name = f"m{rng.integers(4)}"
        expected.setdefault(step, {})[name] = float(step)
        logger.log_metrics({"epoch": 0, name: float(step)}, step)
        logger.save()
        assert logger.path.read_bytes().endswith(b"\n")
        found = {int(r["step"]): {n: float(v) for n, v in r.items() if n[0] == "m" and v} for r in table(logger.path)}
        assert found == expected
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_saving_writes_only_the_end_of_the_file(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"epoch": 0, "a": 1.0}, 0)
    logger.save()
    number = logger.path.stat().st_ino  # another one after the file was rewritten
    for step in range(1, 5):
        logger.log_metrics({"epoch": 0, "a": 123.0}, step)
        logger.save()
        logger.log_metrics({"epoch": 0, "a": 1.0}, step)  # shorter than before
        logger.save()
    assert logger.path.stat().st_ino == number
    assert [row["a"] for row in table(logger.path)] == ["1.0"] * 5


def test_a_line_truncated_by_a_crash_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,val/loss\n0,0,0.5\n0,1,0.412")  # was 0.41234
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"epoch": 0, "val/loss": 0.75}, 2)
    logger.save()
    assert path.read_text() == "epoch,step,val/loss\n0,0,0.5\n0,2,0.75\n"


def test_a_learning_rate_logged_without_an_epoch_joins_the_row_of_its_step(tmp_path: Path) -> None:
    fit(tmp_path, LearningRateMonitor("epoch"))
    rows = table(tmp_path / "metrics.csv")
    assert len(rows) == 12
    assert [row["step"] for row in rows if row["lr-SGD"]] == ["0", "4", "8"]
    assert all(row["epoch"] for row in rows)


def test_numbers_are_as_short_as_they_can_be_and_exact_in_their_precision(tmp_path: Path) -> None:
    values = [float(np.float32(0.412)), 0.1, 1 / 3, float("nan"), float("inf"), 1e300, 3]
    logger = MetricsCSV(tmp_path)
    for step, value in enumerate(values):
        logger.log_metrics({"x": value}, step)
    logger.save()
    text = [row["x"] for row in table(logger.path)]
    assert text[0] == "0.412"
    assert np.float32(text[0]) == np.float32(values[0])
    np.testing.assert_array_equal([float(x) for x in text[1:]], values[1:])


def test_checkpoints_go_to_the_run_folder(tmp_path: Path) -> None:
    saver = ModelCheckpoint(filename="best")
    fit(tmp_path / "version_0", saver, enable_checkpointing=True, max_epochs=1)
    assert (tmp_path / "version_0" / "checkpoints" / "best.ckpt").exists()


def test_other_processes_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"epoch": 0, "a": 1.0}, 0)
    logger.resume_at(0)
    logger.finalize("success")
    assert list(tmp_path.iterdir()) == []


def test_reading_an_empty_file_gives_no_row(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").touch()
    assert read_metrics(tmp_path / "metrics.csv") == (["epoch", "step"], [])
