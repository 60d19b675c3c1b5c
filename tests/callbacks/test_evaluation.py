"""The evaluation report: files and table agree with the predictions, in one process or in two."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from lit_cnn.callbacks import EvaluationReport, ProgressBar, evaluation
from lit_cnn.errors import UserError
from lit_cnn.results.calibration import Calibration
from lit_cnn.results.prediction_columns import read_predictions
from tests.callbacks.tiny_run import Batch, TinyData, TinyModel, tiny_trainer

pytestmark = pytest.mark.usefixtures("real_figures")

ALL_FILES = ["class_indices.json", "confusion_matrix.csv", "confusion_matrix.png", "confusion_matrix_normalized.png"]
ALL_FILES += ["metrics.json", "per_class.csv", "predictions.csv", "reliability.png"]


def run(how: str, out_dir: Path, model: TinyModel | None = None, data: TinyData | None = None, width: int = 100) -> str:
    """Run one evaluation and return what it printed."""
    out = io.StringIO()
    progress = ProgressBar(console=Console(file=out, width=width))
    settings = {"verbose": False} if how != "predict" else {}
    trainer = tiny_trainer(EvaluationReport(out_dir), progress)
    getattr(trainer, how)(model or TinyModel(), datamodule=data or TinyData(), **settings)
    return out.getvalue()


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_freed_memory_is_returned_between_batches_so_that_it_does_not_grow_with_the_files(tmp_path, monkeypatch):
    trims: list[None] = []
    monkeypatch.setattr(evaluation, "trim", lambda: trims.append(None))
    report, model = EvaluationReport(tmp_path), TinyModel()
    for function, expected in (("predict", 2), ("fit", 2)):  # a training step would pay for it
        trainer = SimpleNamespace(state=SimpleNamespace(fn=function))
        for i in range(2 * evaluation.TRIM_EVERY + 1):
            report.on_predict_batch_end(trainer, model, None, None, i)
        assert len(trims) == expected


class ManyClasses(TinyModel):
    """Of 30 classes, knows all but class 7, which it takes for 8; there is no image of the last."""

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
        target = batch.index % 29
        probs = torch.nn.functional.one_hot(torch.where(target == 7, 8, target), 30) * 0.9 + 0.1 / 30
        return {"index": batch.index, "target": target, "probs": probs}

    def on_test_epoch_end(self) -> None:
        pass


class ManyData(TinyData):
    def __init__(self) -> None:
        super().__init__(tuple(f"class {i}" for i in range(30)))

    def test_dataloader(self) -> Any:
        return self._loader(58, 7)

    predict_dataloader = test_dataloader


def test_a_test_run_leaves_all_files_and_they_agree(tmp_path: Path) -> None:
    model = TinyModel()
    run("test", tmp_path / "test", model)
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == ALL_FILES
    head, *rows = table(tmp_path / "test" / "predictions.csv")
    assert head == ["file", "true", "predicted", "correct", "probability", *TinyData().class_names]
    assert [row[0] for row in rows] == [f"test/ä [{i}].png" for i in range(11)]
    assert [row[1] for row in rows] == [TinyData().class_names[i % 3] for i in range(11)]
    for row in rows:
        assert row[3] == str(row[1] == row[2]).lower()
        assert row[4] == row[head.index(row[2])] == max(row[5:])
        assert sum(map(float, row[5:])) == pytest.approx(1, abs=1e-5)
    counts = table(tmp_path / "test" / "confusion_matrix.csv")
    assert counts[0][1:] == [row[0] for row in counts[1:]] == TinyData().class_names
    numbers = np.array([[int(cell) for cell in row[1:]] for row in counts[1:]])
    for i, true in enumerate(TinyData().class_names):  # true classes on rows
        for j, predicted in enumerate(TinyData().class_names):
            assert numbers[i, j] == sum(row[1:3] == [true, predicted] for row in rows)
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert metrics["test/acc"] == pytest.approx(np.trace(numbers) / 11)
    assert metrics["images"] == 11
    assert metrics["accuracy"] == pytest.approx(metrics["test/acc"])
    low, high = metrics["confidence_intervals"]["accuracy"]
    assert low <= metrics["accuracy"] <= high
    daisy = metrics["per_class"]["daisy"]
    assert daisy["accuracy"] == daisy["recall"] == numbers[0, 0] / numbers[0].sum()
    assert daisy["images"] == daisy["support"] == 4
    assert {"roc_auc_ovr", "cohen_kappa", "f1_macro", "f1_weighted", "ece", "log_loss"} <= metrics.keys()
    lines = table(tmp_path / "test" / "per_class.csv")
    assert lines[0][:4] == ["class", "images", "precision", "precision_low"]
    assert lines[1][:2] == ["daisy", "4"]
    indices = json.loads((tmp_path / "test" / "class_indices.json").read_text(encoding="utf-8"))
    assert indices == {"0": "daisy", "1": "玫瑰 rose", "2": "[red]tulip"}


def test_the_modules_own_counts_are_the_ones_shown(tmp_path: Path) -> None:
    class Own(TinyModel):
        def on_test_epoch_end(self) -> None:
            self.test_confusion = torch.tensor([[5, 1, 0], [0, 2, 0], [0, 0, 3]])

    run("test", tmp_path, Own())
    assert table(tmp_path / "confusion_matrix.csv")[1] == ["daisy", "5", "1", "0"]


def test_the_table_shows_the_numbers_and_every_class(tmp_path: Path) -> None:
    printed = run("test", tmp_path)
    assert "test: 11 images" in printed
    assert all(word in printed for word in ("accuracy", "loss", "daisy", "玫瑰 rose", "[red]tulip", "AUROC"))
    assert "11 images tell the accuracy to about" in " ".join(printed.split())
    assert str(tmp_path) in printed


def test_of_many_classes_the_table_shows_the_worst_and_the_best(tmp_path: Path) -> None:
    printed = run("test", tmp_path, ManyClasses(), ManyData())
    shown = [line.split() for line in printed.splitlines() if line.split()[:1] == ["class"]]
    assert len(shown) == 10
    assert shown[0] == ["class", "7", "0.000", "(0.00-0.66)", "2"]
    assert all(line[2:4] == ["1.000", "(0.34-1.00)"] for line in shown[1:])
    assert "the 5 worst classes" in printed
    assert "the 5 best classes" in printed


def test_nan_is_null(tmp_path: Path) -> None:
    class Nan(ManyClasses):
        def test_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
            self.log("test/loss", torch.tensor(float("nan")), batch_size=len(batch.index))
            return self.predict_step(batch, batch_idx)

    run("test", tmp_path, Nan(), ManyData())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["test/loss"] is None
    assert metrics["per_class"]["class 29"]["accuracy"] is None
    assert metrics["per_class"]["class 29"]["images"] == 0
    assert table(tmp_path / "per_class.csv")[-1] == ["class 29", "0", *[""] * 9]


def test_a_network_that_has_diverged_still_gets_its_files(tmp_path: Path) -> None:
    class Diverged(ManyClasses):
        def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
            found = super().predict_step(batch, batch_idx)
            return {**found, "probs": found["probs"] * float("nan")}

    run("test", tmp_path, Diverged(), ManyData())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert "accuracy" in metrics
    assert "ece" not in metrics
    assert not (tmp_path / "reliability.png").exists()


def test_a_predict_run_lists_the_images(tmp_path: Path) -> None:
    class Unlabelled(ManyClasses):
        def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
            found = super().predict_step(batch, batch_idx)
            return {**found, "target": torch.full_like(found["target"], -1)}

    printed = run("predict", tmp_path, Unlabelled(), ManyData())
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]
    rows = table(tmp_path / "predictions.csv")
    assert len(rows) == 1 + 58
    assert len(rows[0]) == 5 + 30
    assert {(row[1], row[3]) for row in rows[1:]} == {("", "")}
    assert "predict/ä [19].png" in printed
    assert "predict/ä [20].png" not in printed
    assert "and 38 more in predictions.csv" in printed
    assert "class 19" in printed


def test_a_predict_run_with_labels_has_scores_too(tmp_path: Path) -> None:
    printed = run("predict", tmp_path, ManyClasses(), ManyData())
    assert {path.name for path in tmp_path.iterdir()} == set(ALL_FILES)
    assert json.loads((tmp_path / "metrics.json").read_text())["accuracy"] == pytest.approx(28 / 29)
    assert "balanced accuracy" in printed


def test_a_temperature_changes_probabilities_but_no_class(tmp_path: Path) -> None:
    trainer = tiny_trainer(EvaluationReport(tmp_path / "warm", calibration=Calibration(2.0, 0.3, 10)))
    trainer.predict(TinyModel(), datamodule=TinyData())
    run("predict", tmp_path / "raw")
    warm, raw = (read_predictions(tmp_path / name / "predictions.csv") for name in ("warm", "raw"))
    assert warm.predicted == raw.predicted
    assert warm.probs is not None
    assert raw.probs is not None
    expected = np.sqrt(raw.probs) / np.sqrt(raw.probs).sum(1, keepdims=True)
    np.testing.assert_allclose(warm.probs, expected, atol=1e-5)
    rows = table(tmp_path / "warm" / "predictions.csv")
    assert rows[0][-1] == "prediction_set"
    for row in rows[1:]:
        inside = {name for name, prob in zip(rows[0][5:-1], row[5:-1], strict=True) if float(prob) >= 0.3}
        assert set(row[-1].split("|")) == inside | {row[2]}
    metrics = json.loads((tmp_path / "warm" / "metrics.json").read_text())
    assert metrics["temperature"] == 2.0
    assert metrics["ece_raw"] == json.loads((tmp_path / "raw" / "metrics.json").read_text())["ece"]


def test_of_very_many_classes_the_most_probable_are_listed_after_the_temperature(tmp_path: Path) -> None:
    class Thousands(TinyModel):
        def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
            logits = torch.arange(1200.0).repeat(len(batch.index), 1) / 100
            return {"index": batch.index, "target": -torch.ones_like(batch.index), "probs": logits.softmax(1)}

    data = TinyData(tuple(f"class {i}" for i in range(1200)))
    trainer = tiny_trainer(EvaluationReport(tmp_path, calibration=Calibration(2.0, 0.3, 10)))
    trainer.predict(Thousands(), datamodule=data)
    head, first, *_ = table(tmp_path / "predictions.csv")
    assert head[5:7] == ["class_1", "probability_1"]
    assert len(head) == 5 + 2 * 5
    expected = (torch.arange(1200.0) / 200).softmax(0)[-1]
    assert float(first[4]) == pytest.approx(float(expected), abs=1e-6)


def test_a_validate_run_reports_but_validation_during_training_does_not(tmp_path: Path) -> None:
    run("validate", tmp_path / "val")
    assert sorted(path.name for path in (tmp_path / "val").iterdir()) == ALL_FILES
    assert len(table(tmp_path / "val" / "predictions.csv")) == 1 + 10
    assert table(tmp_path / "val" / "predictions.csv")[1][0] == "val/ä [0].png"
    tiny_trainer(EvaluationReport(tmp_path / "fit")).fit(TinyModel(), datamodule=TinyData())
    assert not (tmp_path / "fit").exists()


def test_a_process_without_images_may_have_no_output(tmp_path: Path) -> None:
    class RunsOut(TinyModel):
        def test_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor] | None:
            return None if batch_idx == 2 else super().test_step(batch, batch_idx)

    run("test", tmp_path, RunsOut())
    assert len(table(tmp_path / "predictions.csv")) == 1 + 11 - 2
    with pytest.raises(UserError, match="no images"):
        run("predict", tmp_path / "none", type("None", (TinyModel,), {"predict_step": lambda *_: None})())


def test_images_that_were_skipped_are_counted_and_listed(tmp_path: Path) -> None:
    class Damaged(TinyData):
        def skipped(self, split: str) -> dict[str, str]:
            return {f"{split}/ä.png": "it is empty", f"{split}/b.png": "truncated"}

    assert "test: 11 images, 2 skipped" in run("test", tmp_path, data=Damaged())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*ALL_FILES, "bad_images.csv"])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["images"], metrics["skipped_images"]) == (11, 2)
    rows = [["path", "reason"], ["test/ä.png", "it is empty"], ["test/b.png", "truncated"]]
    assert table(tmp_path / "bad_images.csv") == rows


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    run("test", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    run("test", tmp_path)
    run("test", tmp_path)
    assert {path: path.read_bytes() for path in before} == before
    for folder in ("test_2", "test_3"):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == ALL_FILES


@pytest.mark.slow
def test_two_processes_report_what_one_does(tmp_path: Path) -> None:
    run("test", tmp_path / "one")
    script = Path(__file__).with_name("tiny_run.py")
    done = subprocess.run([sys.executable, script, tmp_path / "two"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test: 11 images") == 1
    for name in ("predictions.csv", "confusion_matrix.csv", "class_indices.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    one, two = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two"))
    assert two["per_class"] == one["per_class"]
    assert two["test/loss"] == pytest.approx(one["test/loss"])
    assert not (tmp_path / "two" / "test_2").exists()


def test_as_many_names_as_classes_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the model has 3 classes but the data 2: daisy, rose"):
        run("test", tmp_path, data=TinyData(("daisy", "rose")))
