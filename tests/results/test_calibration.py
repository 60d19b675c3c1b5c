"""Calibration against scikit-learn, against known temperatures, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from lit_cnn.results.calibration import (
    Calibration,
    brier_score_loss,
    calibrate,
    conformal_threshold,
    ece,
    fit_temperature,
    log_loss,
    reliability,
    sets,
    with_temperature,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def drawn(images: int, classes: int = 4, seed: int = 0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Classes drawn by the probabilities of logits, and the probabilities of these logits times ``scale``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, classes)) * 2
    chances = softmax(logits)
    target = (rng.random((images, 1)) > chances.cumsum(1)).sum(1)
    return target, softmax(logits * scale).astype(np.float32)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_logits_that_are_too_large_or_too_small(scale: float) -> None:
    target, probs = drawn(4_000, scale=scale)
    assert fit_temperature(target, probs) == pytest.approx(scale, rel=0.06)


def test_a_temperature_lowers_the_errors_and_keeps_the_order_of_the_classes() -> None:
    target, probs = drawn(2_000, scale=3.0)
    better = with_temperature(probs, fit_temperature(target, probs))
    assert (better.argsort(1) == probs.argsort(1)).all()
    assert better.sum(1) == pytest.approx(1, abs=1e-6)
    assert ece(target, better) < 0.03 < ece(target, probs)
    assert log_loss(target, better) < log_loss(target, probs)
    assert with_temperature(probs, 1.0) is probs


def test_few_images_without_a_mistake_do_not_ask_for_certainty() -> None:
    target = np.arange(20) % 2
    probs = np.where(np.eye(2)[target] > 0, 0.9, 0.1).astype(np.float32)
    assert 0.3 < fit_temperature(target, probs) < 1


@pytest.mark.parametrize("classes", [2, 5])
def test_log_loss_and_brier_score_equal_scikit_learn(classes: int) -> None:
    target, probs = drawn(300, classes)
    wide = probs.astype(np.float64)
    wide /= wide.sum(1, keepdims=True)
    assert log_loss(target, wide) == pytest.approx(metrics.log_loss(target, wide), rel=1e-14)
    if classes == 2:
        expected = metrics.brier_score_loss(target, wide[:, 1])
    else:  # of more classes only from scikit-learn 1.7 on
        expected = ((wide - np.eye(classes)[target]) ** 2).sum(1).mean()
    assert brier_score_loss(target, wide) == pytest.approx(expected, rel=1e-13)


def test_the_calibration_error_of_an_example_computed_by_hand() -> None:
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.35, 0.65]])
    # two bins with two images each: |0.9 - 0.5| and |0.6 - 1|, the last two in bins of their own
    found = reliability(np.array([0, 1, 1, 1]), probs)
    assert found.images[[13, 8, 9]].tolist() == [2, 1, 1]
    assert ece(np.array([0, 1, 1, 1]), probs) == pytest.approx((2 * 0.4 + 0.4 + 0.35) / 4)
    assert np.isnan(found.accuracy[0])


def test_sets_of_new_images_hold_the_class_as_often_as_they_should() -> None:
    hits = []
    for seed in range(300):
        target, probs = drawn(120, seed=seed, scale=2.0)  # overconfident: the threshold makes up for it
        threshold = conformal_threshold(target[:60], probs[:60])
        inside = probs[60:] >= threshold
        hits.append(inside[np.arange(60), target[60:]].mean())
    # exactly 55 / 61 are expected, as the 6th of 60 images is at the threshold
    assert np.mean(hits) == pytest.approx(55 / 61, abs=0.01)


def test_sets_hold_the_most_probable_class_and_all_where_images_are_too_few() -> None:
    probs = np.array([[0.5, 0.3, 0.2], [0.95, 0.04, 0.01]])
    assert sets(probs, 0.6).tolist() == [[True, False, False], [True, False, False]]
    assert sets(probs, 0.25).tolist() == [[True, True, False], [True, False, False]]
    assert conformal_threshold(np.zeros(8, int), np.ones((8, 2))) == 0
    assert sets(probs, 0).all()


def test_images_without_labels_choose_nothing() -> None:
    target, probs = drawn(50)
    assert calibrate(np.full(50, -1), probs) == Calibration()
    more = np.concatenate([target, [-1]]), np.concatenate([probs, probs[:1]])
    assert calibrate(*more) == calibrate(target, probs)


def test_images_without_finite_probabilities_choose_nothing() -> None:
    target, probs = drawn(50)
    assert calibrate(target, np.full_like(probs, np.nan)) == Calibration()
    more = np.concatenate([target, [0]]), np.concatenate([probs, np.full_like(probs[:1], np.nan)])
    assert calibrate(*more) == calibrate(target, probs)
