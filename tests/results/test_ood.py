"""Images that are unlike the validation images: the score by its definition, its threshold, few and odd features."""

from __future__ import annotations

import numpy as np
import pytest

from lit_cnn.results import ood
from lit_cnn.results.ood import fit_ood, ood_scores, project


def features(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Features around three directions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((3, width))
    return (centres[np.arange(count) % 3] + 0.3 * rng.standard_normal((count, width))).astype(np.float32)


def doubts(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 0.5, count)


@pytest.mark.parametrize("width", [16, 200])
def test_five_of_a_hundred_validation_images_are_above_the_threshold_and_as_many_of_others_like_them(width):
    detector = fit_ood(features(400, width), doubts(400))
    assert detector is not None
    assert (detector.basis.shape, detector.bank.shape) == ((width, min(width, 64)), (400, min(width, 64)))
    scores = ood_scores(detector, project(detector, features(2000, width, seed=1)), doubts(2000, seed=1))
    assert 0.02 < (scores > detector.threshold).mean() < 0.1
    other = np.random.default_rng(2).standard_normal((300, width)).astype(np.float32)
    scores = ood_scores(detector, project(detector, other), doubts(300))
    assert (scores > detector.threshold).mean() > 0.95


def test_the_score_is_the_mean_of_distance_and_doubt_in_standard_deviations():
    own, other = features(50, 10), features(7, 10, seed=3)
    detector = fit_ood(own, doubts(50))
    assert detector is not None

    def unit(values: np.ndarray) -> np.ndarray:
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    inside = unit(own) @ unit(own).T - 2 * np.eye(50)
    own_distance = 1 - np.sort(inside, axis=1)[:, -5]
    distance = 1 - np.sort(unit(other) @ unit(own).T, axis=1)[:, -5]
    far = (distance - own_distance.mean()) / max(0.01, own_distance.std())
    unsure = (0.4 - doubts(50).mean()) / doubts(50).std()
    found = ood_scores(detector, project(detector, other), np.full(7, 0.4))
    np.testing.assert_allclose(found, (far + unsure) / 2, atol=0.02)  # half precision


def test_what_lies_outside_of_the_kept_dimensions_counts_as_distance(monkeypatch):
    monkeypatch.setattr(ood, "DIMENSIONS", 2)
    rng = np.random.default_rng(0)
    own = np.zeros((60, 5), np.float32)
    own[:, :2] = rng.uniform(0.5, 1, (60, 2))
    detector = fit_ood(own, np.zeros(60))
    assert detector is not None
    aside = own[:5].copy()
    aside[:, 4] = 3
    near, far = (ood_scores(detector, project(detector, each), np.zeros(5)) for each in (own[:5], aside))
    assert far.min() > near.max() + 10


def test_few_or_broken_features_make_no_detector_and_many_are_thinned_out():
    assert fit_ood(features(19, 8), doubts(19)) is None
    broken = features(30, 8)
    broken[3, 2] = np.nan
    assert fit_ood(broken, doubts(30)) is None
    many = fit_ood(features(2500, 8), doubts(2500))
    assert many is not None
    assert len(many.bank) == 1000
