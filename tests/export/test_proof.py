"""When a proof holds, and what it says."""

from __future__ import annotations

import numpy as np
import pytest

from lit_cnn.errors import UserError
from lit_cnn.export.proof import TOLERANCE, compare

BEFORE = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.34, 0.34, 0.32]])
TARGET = np.array([0, 1, 1])
NAMES = ["a.jpg", "b.jpg", "c.jpg"]


def moved(row: int, by: float) -> np.ndarray:
    """The probabilities with some of the first class moved to the second in one row."""
    after = BEFORE.copy()
    after[row] += np.array([-by, by, 0])
    return after


def test_equal_answers_are_proven_and_counted():
    proof = compare(BEFORE, BEFORE.copy(), TARGET, NAMES, "val")
    assert proof.holds
    assert (proof.images, proof.largest, proof.same, proof.right, proof.labelled) == (3, 0.0, 3, 2, 3)
    assert proof.sentence() == "3 validation images, largest difference in probability 0.0e+00, same answer for 3"
    assert proof.accuracy.low < 2 / 3 < proof.accuracy.high


def test_a_difference_above_the_tolerance_is_refused_and_its_picture_named():
    proof = compare(BEFORE, moved(1, 2 * TOLERANCE), TARGET, NAMES, "val")
    assert not proof.holds
    assert proof.different == ["b.jpg"]


def test_an_answer_that_hangs_on_less_than_the_tolerance_may_change():
    proof = compare(BEFORE, moved(2, TOLERANCE / 2), TARGET, NAMES, "val")
    assert proof.holds
    assert (proof.same, proof.decided, proof.decided_same) == (2, 2, 2)


def test_the_pictures_with_the_largest_differences_come_first():
    after = np.where(np.arange(3)[:, None] == 1, moved(1, 0.1), moved(0, 0.3))
    assert compare(BEFORE, after, TARGET, NAMES, "test").different == ["a.jpg", "b.jpg"]


def test_with_several_labels_all_of_them_must_stay():
    before = np.array([[0.9, 0.50001], [0.2, 0.8]])
    target = np.array([[1, 1], [0, 0]])
    proof = compare(before, before - [[0, 0.00002], [0, 0]], target, ["a", "b"], "val", multilabel=True)
    assert proof.holds  # it hangs on less than the tolerance
    assert (proof.same, proof.right_before, proof.right) == (1, 1, 0)
    assert not compare(before, before - [[0, 0], [0, 0.4]], target, ["a", "b"], "val", multilabel=True).holds


def test_unlabelled_images_count_for_the_proof_and_not_for_the_accuracy():
    proof = compare(BEFORE, BEFORE, np.array([0, -1, 0]), NAMES, "val")
    assert (proof.images, proof.labelled, proof.right) == (3, 2, 2)


def test_nothing_is_proven_by_nan_or_by_no_images():
    with pytest.raises(UserError, match="exported file gives probabilities that are NaN"):
        compare(BEFORE, BEFORE * np.nan, TARGET, NAMES, "val")
    with pytest.raises(UserError, match="no validation images"):
        compare(BEFORE[:0], BEFORE[:0], TARGET[:0], [], "val")
