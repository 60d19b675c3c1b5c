"""predictions.csv, written and read again, also as earlier versions wrote it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lit_cnn.results.prediction_columns import read_predictions
from lit_cnn.results.predictions import write_predictions


def found(classes: int) -> dict[str, np.ndarray]:
    probs = np.random.default_rng(0).dirichlet(np.ones(classes), 4).astype(np.float32)
    label = np.argsort(-probs, 1)[:, :5]
    prob = np.take_along_axis(probs, label, 1)
    return {"index": np.arange(4), "target": np.array([0, 1, 0, -1]), "prob": prob, "label": label, "probs": probs}


FILES = ["a.png", "b,c.png", 'd".png', "é.png"]


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    names = ["file", "cat, black", "prediction_set"]  # named like columns
    given = found(3)
    write_predictions(tmp_path / "p.csv", FILES, names, given, threshold=0.2)
    read = read_predictions(tmp_path / "p.csv")
    assert read.files == FILES
    assert read.names == names
    assert read.true == ["file", "cat, black", "file", ""]
    assert read.predicted == [names[k] for k in given["label"][:, 0]]
    assert read.probs == pytest.approx(given["probs"], abs=1e-6)
    assert read.probability == pytest.approx(given["prob"][:, 0], abs=1e-6)


def test_of_many_classes_the_most_probable_are_written(tmp_path: Path) -> None:
    names = [f"n{k}" for k in range(101)]
    write_predictions(tmp_path / "p.csv", FILES, names, found(101))
    head = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[0]
    assert head.startswith("file,true,predicted,correct,probability,class_1,probability_1,class_2")
    read = read_predictions(tmp_path / "p.csv")
    assert (read.probs, read.names) == (None, [])
    assert len(read.predicted) == 4


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        "file,true,predicted,probability,class_1,probability_1,class_2,probability_2\n"
        "a.png,cat,dog,0.700000,dog,0.700000,cat,0.300000\n",
        encoding="utf-8",
    )
    read = read_predictions(tmp_path / "p.csv")
    assert (read.files, read.true, read.predicted) == (["a.png"], ["cat"], ["dog"])
    assert read.probability.tolist() == [0.7]
    assert read.probs is None


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("file,label\na,b\n")
    with pytest.raises(ValueError, match="no column 'true'"):
        read_predictions(tmp_path / "p.csv")
