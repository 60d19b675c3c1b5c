"""Top-k accuracy and AUROC against scikit-learn, and the interval by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from lit_cnn.results.ranking import roc_auc, top_k_accuracy


def case(classes: int, images: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes)).round(1)  # with ties
    logits[np.arange(images), target] += 1
    probs = np.exp(logits)
    return target, probs / probs.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_roc_auc_equals_scikit_learn(classes: int) -> None:
    target, probs = case(classes)
    given = probs[:, 1] if classes == 2 else probs
    expected = metrics.roc_auc_score(target, given, multi_class="ovr")
    score = roc_auc(target, probs)
    assert score.value == pytest.approx(expected, rel=1e-14)
    assert score.low < score.value < score.high


def test_top_k_accuracy_equals_scikit_learn() -> None:
    target, probs = case(10)
    probs = probs + 1e-6 * np.arange(10)  # without ties, which scikit-learn and a sort may break differently
    label = np.argsort(-probs, 1)[:, :5]
    expected = metrics.top_k_accuracy_score(target, probs, k=5)
    assert top_k_accuracy(target, label).value == pytest.approx(expected, rel=1e-14)


def test_images_without_a_label_do_not_count() -> None:
    target, probs = case(3)
    more = np.concatenate([target, [-1, -1]]), np.concatenate([probs, np.eye(3)[:2]])
    assert roc_auc(*more) == roc_auc(target, probs)
    assert top_k_accuracy(more[0], more[1].argsort(1)[:, -2:]) == top_k_accuracy(target, probs.argsort(1)[:, -2:])


def test_a_class_without_images_is_left_out() -> None:
    target, probs = case(4)
    kept = target != 2
    one_by_one = [metrics.roc_auc_score(target[kept] == k, probs[kept, k]) for k in (0, 1, 3)]
    assert roc_auc(target[kept], probs[kept]).value == pytest.approx(np.mean(one_by_one), rel=1e-14)


def test_a_single_class_has_no_roc_auc() -> None:
    assert math.isnan(roc_auc(np.zeros(5, int), np.full((5, 2), 0.5)).value)


def test_a_faultless_ranking_of_few_images_is_not_certain() -> None:
    target = np.repeat([0, 1], 5)
    score = roc_auc(target, np.eye(2)[target])
    assert score.value == score.high == 1
    assert score.low == pytest.approx(0.566, abs=1e-3)  # Wilson, 5 of 5


def test_the_interval_contains_the_true_area_in_about_95_of_100_evaluations() -> None:
    rng = np.random.default_rng(5)
    truth = 0.5 * (1 + math.erf(1.2 / 2))  # of two normal distributions, 1.2 standard deviations apart
    target, inside, repeats = np.repeat([0, 1], [60, 40]), 0, 2_000
    for _ in range(repeats):
        score = roc_auc(target, np.stack([np.zeros(100), rng.normal(size=100) + 1.2 * target], 1))
        inside += score.low <= truth <= score.high
    assert inside / repeats == pytest.approx(0.95, abs=0.015)  # a standard error of 0.5 points
