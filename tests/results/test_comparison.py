"""Comparisons of runs: McNemar's test and Holm's correction against references, equal images, seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lit_cnn.errors import UserError
from lit_cnn.results.comparison import (
    Evaluation,
    Group,
    check_same_images,
    differences,
    differing_settings,
    disagreements,
    group_by_seed,
    group_differences,
    holm,
    mcnemar,
    read_predictions,
)


def evaluation(predicted: str, true: str = "aaaaaaaaaa") -> Evaluation:
    return Evaluation(Path("x"), [f"{i}.jpg" for i in range(len(true))], list(true), list(predicted))


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 0), (10, 3), (3, 10), (40, 40), (300, 200)])
def test_mcnemar_is_the_exact_binomial_test(b, c):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(min(b, c), b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9)


def test_holm_is_that_of_the_textbook():
    # worked by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 raised to the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_chance_of_a_false_alarm_among_equal_runs_is_at_most_the_level():
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        runs = [evaluation("".join(np.where(rng.random(60) < 0.7, "a", "b")), "a" * 60) for _ in range(4)]
        alarms += any(each.told_apart for each in differences(runs))
    assert alarms / 200 <= 0.08


def test_the_interval_of_a_difference_covers_the_true_one():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        hard = rng.random(200)  # the same images are hard for both
        one, two = (np.where(hard + 0.4 * rng.standard_normal(200) < limit, "a", "b") for limit in (0.9, 0.8))
        found = differences([evaluation("".join(one), "a" * 200), evaluation("".join(two), "a" * 200)])[0]
        low, high = found.accuracy.low, found.accuracy.high
        if found.first == 1:
            low, high = -high, -low
        covered += low <= TRUE_DIFFERENCE <= high
    assert covered / 300 > 0.91


def _true_difference() -> float:
    rng = np.random.default_rng(2)
    hard, noise = rng.random(1_000_000), 0.4 * rng.standard_normal(1_000_000)
    return float((hard + noise < 0.9).mean() - (hard + noise < 0.8).mean())


TRUE_DIFFERENCE = _true_difference()


def test_the_better_run_is_first_and_counts_are_those_of_the_images():
    (found,) = differences([evaluation("aaaaabbbbb"), evaluation("aaaaaaabbb")])
    assert (found.first, found.second, found.only_first, found.only_second) == (1, 0, 2, 0)
    assert found.accuracy.value == pytest.approx(0.2)
    assert not found.told_apart


def test_runs_on_other_images_or_labels_are_refused():
    with pytest.raises(UserError, match=r"a and b were evaluated on different images \(10 and 9; 1 .*such as 9.jpg\)"):
        check_same_images(["a", "b"], [evaluation("a" * 10), evaluation("a" * 9, "a" * 9)])
    with pytest.raises(UserError, match=r"0.jpg is 'a' for a and 'b' for b"):
        check_same_images(["a", "b"], [evaluation("a" * 10), evaluation("a" * 10, "b" + "a" * 9)])
    check_same_images(["a", "b"], [evaluation("a" * 10), evaluation("b" * 10)])


def test_images_that_divide_the_runs_come_first():
    runs = [evaluation("aab", "aaa"), evaluation("aba", "aaa"), evaluation("aba", "aaa"), evaluation("aaa", "aaa")]
    assert disagreements(runs) == [1, 2]  # 1 is right in two of four, 2 in three


def test_runs_that_differ_in_the_seed_are_one_group():
    settings = [{"lr": 0.1, "seed_everything": 1}, {"lr": 0.2, "seed_everything": 1}, {"lr": 0.1, "seed_everything": 2}]
    groups = group_by_seed(settings, [0.8, 0.5, 0.9])
    assert [group.members for group in groups] == [[0, 2], [1]]
    assert groups[0].mean == pytest.approx(0.85)
    assert groups[0].deviation == pytest.approx(np.std([0.8, 0.9], ddof=1))
    assert differing_settings(settings) == ["lr", "seed_everything"]


def test_groups_of_seeds_are_told_apart_by_welchs_test_corrected_for_their_number():
    stats = pytest.importorskip("scipy.stats")
    values = [[0.7, 0.72, 0.71], [0.5, 0.58, 0.54, 0.49], [0.69, 0.74], [0.9]]
    groups = [Group(list(range(len(v))), float(np.mean(v)), float(np.std(v, ddof=1)) if v[1:] else 0.0) for v in values]
    found = group_differences(groups)
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (2, 0), (2, 1)]  # one run is no group
    single = [stats.ttest_ind(values[a], values[b], equal_var=False).pvalue for a, b in ((0, 1), (2, 0), (2, 1))]
    assert [pair.p for pair in found] == pytest.approx(holm(single))
    assert [pair.told_apart for pair in found] == [True, False, True]


def test_equal_accuracies_of_two_seeds_tell_nothing_of_what_seeds_bring():
    assert [pair.p for pair in group_differences([Group([0, 1], 0.9, 0.0), Group([2, 3], 0.8, 0.0)])] == [1.0]


def test_predictions_are_read_in_the_order_of_their_names(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("file,true,predicted,probability\nb.jpg,cat,dog,0.6\na.jpg,cat,cat,0.9\n")
    found = read_predictions(path)
    assert (found.files, found.true, found.predicted) == (["a.jpg", "b.jpg"], ["cat", "cat"], ["cat", "dog"])
    assert found.correct.tolist() == [True, False]


@pytest.mark.parametrize(
    "text", ["", "x,y\n1,2\n", "file,true,predicted\na.jpg,,cat\n", "file,true,predicted\na.jpg\n"]
)
def test_other_tables_are_refused_in_one_line(text, tmp_path):
    (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(UserError, match=r"predictions.csv"):
        read_predictions(tmp_path / "predictions.csv")
