"""Confusion matrices of few and of thousands of classes: readable, and of bounded size."""

from __future__ import annotations

import csv
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_cnn.results.confusion import confusion_counts, plot_confusion, write_confusion
from lit_cnn.results.metrics_json import write_confusions, write_metrics

pytestmark = pytest.mark.usefixtures("real_figures")


def counts_of(k: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    target = np.arange(k).repeat(3)
    return confusion_counts(target, np.where(rng.random(3 * k) < 0.6, target, rng.integers(0, k, 3 * k)), k)


def test_counts_have_true_classes_on_rows_and_skip_unknown_targets() -> None:
    counts = confusion_counts(np.array([0, 0, 1, -1]), np.array([0, 2, 1, 1]), 3)
    np.testing.assert_array_equal(counts, [[1, 0, 1], [0, 1, 0], [0, 0, 0]])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    "names",
    [["cat", "dog"], ["玫瑰", "$a$ _b", "Größe"], [f"a rather long class name, the {i}th" for i in range(102)]],
    ids=["2", "not latin", "102"],
)
def test_a_matrix_of_any_size_is_drawn_without_a_warning(tmp_path: Path, names: list[str], normalize: bool) -> None:
    counts = np.eye(len(names), dtype=int) * 12345
    counts[0] = 0
    plot_confusion(counts, names, tmp_path / "matrix.png", "test", normalize)
    with Image.open(tmp_path / "matrix.png") as image:
        assert 400 <= min(image.size) <= max(image.size) <= 3000
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("k", "normalize"), [(121, False), (1100, True)])
def test_a_matrix_of_many_classes_has_a_bounded_size_and_a_single_image_is_seen_in_it(
    tmp_path: Path, k: int, normalize: bool
) -> None:
    counts, drawn = np.eye(k, dtype=int) * 10, []
    for extra in (0, 1):
        for row, column in ((k // 3, k // 9), (k // 4, k // 2), (k // 5, k - k // 9)):
            counts[row, column] += extra  # a single image beside the diagonal
        plot_confusion(counts, [str(i) for i in range(k)], tmp_path / "a.png", "test", normalize)
        drawn.append(np.asarray(Image.open(tmp_path / "a.png").convert("L")).astype(int))
    assert max(drawn[0].shape) <= 1200
    assert (drawn[0] - drawn[1] > 8).any(axis=0).sum() >= 6  # columns of pixels


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_a_thousand_classes_take_seconds_and_no_gigabyte(tmp_path: Path) -> None:
    counts, names = counts_of(1100), [f"class {i}" for i in range(1100)]
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    write_metrics(tmp_path, names, counts, {}, 0)
    write_confusions(tmp_path, names, counts, "test")
    assert time.process_time() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000 * (
        1000 if sys.platform == "darwin" else 1
    )


def test_the_table_of_very_many_classes_lists_the_pairs_that_occur(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = np.array([[2, 0, 1], [0, 0, 0], [0, 0, 4]])
    write_confusion(counts, ["a", "b", "c"], tmp_path / "few.csv")
    monkeypatch.setattr("lit_cnn.results.confusion.MOST_COLUMNS", 2)
    write_confusion(counts, ["a", "b", "c"], tmp_path / "many.csv")
    few, many = (list(csv.reader((tmp_path / f"{name}.csv").open(newline=""))) for name in ("few", "many"))
    assert few == [
        ["true \\ predicted", "a", "b", "c"],
        ["a", "2", "0", "1"],
        ["b", "0", "0", "0"],
        ["c", "0", "0", "4"],
    ]
    assert many == [["true", "predicted", "images"], ["a", "a", "2"], ["a", "c", "1"], ["c", "c", "4"]]
