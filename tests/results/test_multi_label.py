"""Scores of several labels, in scikit-learn's definitions; files and tables."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from sklearn import metrics

from lit_cnn.results.multi_label import (
    average_precision,
    label_predictions_table,
    label_scores,
    label_table,
    write_label_metrics,
    write_label_predictions,
)
from lit_cnn.utils.console import console

RNG = np.random.default_rng(0)
TARGET = (RNG.random((200, 4)) < [0.5, 0.1, 0.8, 0.02]).astype(np.uint8)
PROBS = np.clip(0.6 * TARGET + 0.5 * RNG.random((200, 4)), 0, 1).round(2)  # rounded: many are equal


def test_scores_are_those_of_scikit_learn():
    found, predicted = label_scores(TARGET, PROBS), PROBS > 0.5
    assert found.accuracy.value == metrics.accuracy_score(TARGET, predicted)
    expected = {
        "average_precision_macro": metrics.average_precision_score(TARGET, PROBS, average="macro"),
        "f1_micro": metrics.f1_score(TARGET, predicted, average="micro"),
        "f1_macro": metrics.f1_score(TARGET, predicted, average="macro", zero_division=0),
        "precision_macro": metrics.precision_score(TARGET, predicted, average="macro", zero_division=0),
        "recall_macro": metrics.recall_score(TARGET, predicted, average="macro", zero_division=0),
        "hamming_loss": metrics.hamming_loss(TARGET, predicted),
    }
    assert found.overall == pytest.approx(expected, rel=1e-12)
    for k, label in enumerate(found.labels):
        assert label.average_precision == pytest.approx(metrics.average_precision_score(TARGET[:, k], PROBS[:, k]))
        assert label.support == TARGET[:, k].sum()


def test_a_label_that_no_image_has_does_not_count_in_the_mean():
    target = np.array([[1, 0], [1, 0], [0, 0]])
    found = label_scores(target, np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.7]]))
    assert math.isnan(found.labels[1].average_precision)
    assert found.overall["average_precision_macro"] == 1.0
    assert found.accuracy.value == pytest.approx(2 / 3)
    assert math.isnan(average_precision(np.zeros(3, bool), np.ones(3)))


def test_files_hold_labels_and_probabilities_and_no_nan(tmp_path):
    names, files = ["cat", "file", "none"], ["a.jpg", "b.jpg", "c.jpg"]
    found = {"target": np.array([[1, 1, 0], [0, 0, 0], [-1, -1, -1]]), "probs": np.full((3, 3), 0.25, np.float32)}
    found["probs"][0, :2] = 0.75
    write_label_predictions(tmp_path / "predictions.csv", files, names, found)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "true", "predicted", "correct", "cat", "label file", "none"]
    assert [(row["true"], row["predicted"], row["correct"]) for row in rows] == [
        ("cat|file", "cat|file", "true"),
        ("", "", "true"),
        ("", "", ""),
    ]
    assert rows[0]["label file"] == "0.750000"
    scores = label_scores(found["target"][:2], found["probs"][:2])
    write_label_metrics(tmp_path, names, scores, {"test/loss": math.nan}, 2, 0)
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["test/loss"] is None
    assert content["per_class"]["none"]["average_precision"] is None
    assert content["accuracy"] == 1.0
    assert json.loads((tmp_path / "class_indices.json").read_text()) == {"0": "cat", "1": "file", "2": "none"}
    with (tmp_path / "per_class.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["average_precision"] == "1.000000"


def test_tables_fit_and_show_the_worst_of_many_labels(capsys):
    names = [f"label {k}" for k in range(30)]
    target = (RNG.random((50, 30)) < 0.5).astype(np.uint8)
    probs = RNG.random((50, 30))
    probs[:, 29] = 1 - target[:, 29]  # always wrong
    screen = console()
    screen.print(label_table("test", names, label_scores(target, probs), 50, 1))
    screen.print(label_predictions_table([f"{i}.jpg" for i in range(50)], names, {"probs": probs}, 0))
    out = capsys.readouterr().out
    assert "label 29" in out.split("predictions")[0]
    assert "and 30 more in predictions.csv" in out
    assert all(len(line) <= 80 for line in out.splitlines())
