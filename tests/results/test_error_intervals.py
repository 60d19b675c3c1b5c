"""Intervals of log loss, Brier score and calibration error."""

from __future__ import annotations

import numpy as np
import pytest

from lit_cnn.results import calibration, error_intervals
from lit_cnn.results.error_intervals import error_scores
from tests.results.test_calibration import drawn

NAMES = ("log_loss", "brier_score_loss", "ece")


def test_values_are_those_of_the_scores_themselves() -> None:
    target, probs = drawn(200)
    found = error_scores(target, probs)
    assert set(found) == set(NAMES)
    for name in NAMES:
        assert found[name].value == getattr(calibration, name)(target, probs)
        assert found[name].low < found[name].value < found[name].high


@pytest.mark.parametrize("name", NAMES)
def test_intervals_are_those_of_a_plain_loop_over_resampled_images(name: str) -> None:
    target, probs = drawn(150)
    score, value = getattr(calibration, name), getattr(calibration, name)(target, probs)
    rng, classes = np.random.default_rng(7), [np.flatnonzero(target == k) for k in np.unique(target)]
    values = []
    for _ in range(2_000):
        rows = np.concatenate([rng.choice(rows, len(rows)) for rows in classes])
        values.append(score(target[rows], probs[rows]))
    expected = error_intervals.bootstrap_interval(value, np.array(values))
    found = error_scores(target, probs)[name]
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.1 * width)
    assert found.high == pytest.approx(expected.high, abs=0.1 * width)


@pytest.mark.parametrize("name", ["log_loss", "brier_score_loss"])
def test_the_interval_contains_the_true_error_in_about_95_of_100_evaluations(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_intervals, "RESAMPLES", 400)
    target, probs = drawn(20_000, seed=1)
    truth = getattr(calibration, name)(target, probs)
    rows = np.random.default_rng(3).permutation(len(target))[:16_000].reshape(80, 200)
    found = [error_scores(target[part], probs[part])[name] for part in rows]
    assert 70 <= sum(each.low <= truth <= each.high for each in found) <= 80


def test_the_same_images_have_the_same_intervals() -> None:
    target, probs = drawn(300)
    assert error_scores(target, probs) == error_scores(target.copy(), probs.copy())
