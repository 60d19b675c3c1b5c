"""Wrong labels are ranked first, and what is worth labelling is uncertain and diverse."""

from __future__ import annotations

import numpy as np

from lit_cnn.results.label_check import held_out_probabilities, suspicious_labels, worth_labelling


def _clusters(count: int = 60, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = rng.normal(0, 1, (classes, 8))
    return centres[labels] + rng.normal(0, 0.2, (count, 8)), labels


def test_planted_wrong_labels_are_the_first_suspicions() -> None:
    features, labels = _clusters()
    given = labels.copy()
    wrong = [4, 17, 33]
    given[wrong] = (given[wrong] + 1) % 3
    chosen, looks = suspicious_labels(held_out_probabilities(features, given, 3), given)
    assert sorted(chosen[:3].tolist()) == wrong
    assert looks[:3].tolist() == labels[chosen[:3]].tolist()


def test_the_thresholds_are_those_of_confident_learning() -> None:
    labels = np.array([0, 0, 1, 1])
    probs = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.4, 0.6]])
    # thresholds: mean of p0 over class 0 is 0.6, of p1 over class 1 is 0.7: image 1 is confidently 1, image 3 neither
    chosen, looks = suspicious_labels(probs, labels)
    assert (chosen.tolist(), looks.tolist()) == ([1], [1])


def test_probabilities_come_from_models_that_have_not_seen_the_image() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(100) % 2
    probs = held_out_probabilities(rng.normal(size=(100, 50)), labels, 2)  # nothing to learn
    assert abs((probs.argmax(1) == labels).mean() - 0.5) < 0.15
    np.testing.assert_allclose(probs.sum(1), 1)


def test_a_class_of_one_image_and_one_class_alone_give_probabilities() -> None:
    features, labels = _clusters(13)
    labels[:] = 0
    labels[5] = 1
    assert held_out_probabilities(features, labels, 3).shape == (13, 3)


def test_uncertain_images_come_first_and_copies_of_one_are_not_all_chosen() -> None:
    probs = np.array([[0.99, 0.01], [0.5, 0.5], [0.5, 0.5], [0.6, 0.4], [0.98, 0.02]])
    features = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]], float)
    assert worth_labelling(probs, features, 2).tolist() == [1, 3]
    assert len(worth_labelling(probs, features, 99)) == 5
