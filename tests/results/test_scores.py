"""Scores against scikit-learn, and intervals by simulation."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from sklearn import metrics

from lit_cnn.results.confusion import confusion_counts
from lit_cnn.results.scores import class_scores, overall_scores, wilson

REFERENCE = {
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "cohen_kappa": metrics.cohen_kappa_score,
    **{
        f"{name}_{average}": lambda y, p, f=f, a=average: f(y, p, average=a, zero_division=0)
        for name, f in (
            ("precision", metrics.precision_score),
            ("recall", metrics.recall_score),
            ("f1", metrics.f1_score),
        )
        for average in ("macro", "weighted")
    },
}


def _case(kind: str) -> tuple[np.ndarray, np.ndarray, int]:
    rng = np.random.default_rng(3)
    target = rng.integers(0, 7, 300)
    predicted = np.where(rng.random(300) < 0.7, target, rng.integers(0, 7, 300))
    if kind == "two classes":
        return target % 2, predicted % 2, 2
    if kind == "a class without images":
        return np.where(target == 3, 2, target), predicted, 7
    if kind == "a class never predicted":
        return target, np.where(predicted == 3, 2, predicted), 7
    if kind == "a class that is in neither":
        return np.where(target == 3, 2, target), np.where(predicted == 3, 2, predicted), 9
    if kind == "one image":
        return target[:1], predicted[:1] * 0 + target[:1], 7
    if kind == "all wrong":
        return target, (target + 1) % 7, 7
    return target, predicted, 7


CASES = ["usual", "two classes", "a class without images", "a class never predicted", "a class that is in neither"]
CASES += ["one image", "all wrong"]


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("name", REFERENCE)
def test_equals_scikit_learn(kind: str, name: str) -> None:
    target, predicted, k = _case(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes without images
        expected = REFERENCE[name](target, predicted)
    got = overall_scores(confusion_counts(target, predicted, k))[name].value
    assert got == pytest.approx(expected, rel=1e-14, abs=1e-15, nan_ok=True)


@pytest.mark.parametrize("kind", CASES)
def test_scores_of_a_class_equal_scikit_learns_report(kind: str) -> None:
    target, predicted, k = _case(kind)
    report = metrics.classification_report(target, predicted, labels=range(k), output_dict=True, zero_division=np.nan)
    for index, scores in enumerate(class_scores(confusion_counts(target, predicted, k))):
        expected = report[str(index)]
        assert scores.support == expected["support"]
        assert scores.recall.value == pytest.approx(expected["recall"], nan_ok=True)
        assert scores.precision.value == pytest.approx(expected["precision"], nan_ok=True)
        if scores.support:
            assert scores.f1.value == pytest.approx(expected["f1-score"])
        else:
            assert math.isnan(scores.f1.value)


# statsmodels.stats.proportion.proportion_confint(k, n, method="wilson")
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (14, 18, 0.5478, 0.9100),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson_equals_published_values(successes: int, trials: int, low: float, high: float) -> None:
    score = wilson(successes, trials)
    assert (score.low, score.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


def test_nothing_measured_is_nan_and_no_scores() -> None:
    assert math.isnan(wilson(0, 0).value)
    assert overall_scores(np.zeros((3, 3), int)) == {}
    assert all(math.isnan(scores.f1.value) for scores in class_scores(np.zeros((3, 3), int)))


def test_the_same_seed_gives_the_same_interval_and_it_contains_the_value() -> None:
    counts = confusion_counts(*_case("usual"))
    first, again, other = (overall_scores(counts, seed) for seed in (0, 0, 1))
    assert first == again
    assert first["f1_macro"] != other["f1_macro"]
    assert all(score.low <= score.value <= score.high for score in first.values())


def test_intervals_narrow_with_the_square_root_of_the_number_of_images() -> None:
    counts = np.array([[80, 20], [30, 70]])
    few, many = overall_scores(counts), overall_scores(counts * 100)
    for name in few:
        ratio = (few[name].high - few[name].low) / (many[name].high - many[name].low)
        assert ratio == pytest.approx(10, rel=0.12), name


def test_a_few_images_that_are_all_right_are_no_certainty() -> None:
    counts = np.diag([5, 5, 5])
    _, low, high = wilson(15, 15)
    scores = overall_scores(counts)
    for name in ("balanced_accuracy", "precision_macro", "f1_macro", "recall_weighted"):
        assert scores[name] == pytest.approx((1.0, low, high)), name
    assert scores["cohen_kappa"] == pytest.approx((1.0, 1 - (1 - low) * 3 / 2, 1.0))  # a third agree by chance
    assert [found.f1 for found in class_scores(counts)] == [pytest.approx(wilson(5, 5))] * 3
    # a class of two images decides the mean of the classes: it is as uncertain as a share of few images
    rare = overall_scores(np.diag([100, 2]))
    assert rare["balanced_accuracy"].low < 0.7 < rare["f1_weighted"].low
    wrong = overall_scores(np.array([[0, 5], [5, 0]]))
    assert wrong["balanced_accuracy"] == pytest.approx((0.0, 0.0, wilson(0, 10).high))
    assert -1 <= wrong["cohen_kappa"].low <= wrong["cohen_kappa"].value == -1 < wrong["cohen_kappa"].high


def _coverage(name: str, images: int, repeats: int) -> float:
    """Share of simulated evaluations whose interval contains the classifier's true score."""
    rng = np.random.default_rng(11)
    share = np.array([0.5, 0.3, 0.2])
    chance = np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]])  # predicted, given the true class
    support = (share * images).astype(int)
    truth = overall_scores((chance * support[:, None] * 1_000).astype(int))[name].value
    inside = 0
    for _ in range(repeats):
        counts = np.stack([rng.multinomial(n, p) for n, p in zip(support, chance, strict=True)])
        score = overall_scores(counts, seed=int(rng.integers(1 << 30)))[name]
        inside += score.low <= truth <= score.high
    return inside / repeats


@pytest.mark.slow
@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "balanced_accuracy", "cohen_kappa"])
def test_the_interval_contains_the_true_score_in_about_95_of_100_evaluations(name: str) -> None:
    # 600 repeats: a standard error of 0.9 points
    assert _coverage(name, images=300, repeats=600) == pytest.approx(0.95, abs=0.027)
