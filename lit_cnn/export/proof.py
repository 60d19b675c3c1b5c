"""The proof of an exported file: its answers on real images against those of the checkpoint. NumPy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lit_cnn.errors import UserError
from lit_cnn.results.multi_label import THRESHOLD
from lit_cnn.results.scores import Score, wilson

TOLERANCE = 1e-4  # in probability
_KEPT = 200  # answers in the metadata


class Proof(NamedTuple):
    """How far the answers of a file agree with those of the checkpoint.

    Attributes:
        images: that both were asked about.
        split: that these are from: val or test.
        largest: difference of two probabilities.
        same: images with the same answer: the most probable class, or all labels above one half.
        decided: images whose answer hangs on more than the tolerance.
        decided_same: of these, images with the same answer.
        right: images that the file answers rightly; of labelled ones.
        right_before: the same of the checkpoint.
        labelled: images with a label.
        lost, gained: of these, images that the checkpoint alone, and the file alone, answers rightly.
        different: names of images whose answers differ although they are decided, or whose probabilities differ by more
            than the tolerance; the largest differences first, at most 5.
        answers: of at most 200 evenly spaced images, by their name: the most probable class and its probability, so
            that a file can be checked again.
    """

    images: int
    split: str
    largest: float
    same: int
    decided: int
    decided_same: int
    right: int
    right_before: int
    labelled: int
    lost: int
    gained: int
    different: list[str]
    answers: dict[str, tuple[int, float]]

    @property
    def holds(self) -> bool:
        """Whether no probability differs by more than the tolerance, and no decided answer."""
        return self.largest <= TOLERANCE and self.decided == self.decided_same

    @property
    def accuracy(self) -> Score:
        """Share of right answers of the file, with its 95% interval."""
        return wilson(self.right, self.labelled)

    def sentence(self) -> str:
        """One line of what was found."""
        return (
            f"{self.images:,} {SPLIT_NAMES[self.split]} images, largest difference in probability {self.largest:.1e}, "
            f"same answer for {self.same:,}"
        )


SPLIT_NAMES = {"val": "validation", "test": "test"}


def compare(
    before: np.ndarray, after: np.ndarray, target: np.ndarray, names: list[str], split: str, multilabel: bool = False
) -> Proof:
    """Compare probabilities of a checkpoint with those of an exported file.

    Args:
        before: float (N, K), of the checkpoint.
        after: float (N, K), of the file.
        target: int (N,), below 0: unknown; with several labels an image (N, K).
        names: of the images.
        split: val or test.
        multilabel: whether an image has any number of labels.

    Raises:
        UserError: there are no images, or a probability is NaN.
    """
    if not len(before):
        raise UserError(f"there are no {SPLIT_NAMES[split]} images to prove the export on")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        whose = "exported file" if np.isfinite(before).all() else "checkpoint"
        raise UserError(f"the {whose} gives probabilities that are NaN: there is nothing to prove")
    gaps = np.abs(before.astype(np.float64) - after).max(1)
    if multilabel:
        same = ((before > THRESHOLD) == (after > THRESHOLD)).all(1)
        margin = np.abs(before - THRESHOLD).min(1)
        right, right_before = (((p > THRESHOLD) == (target > 0)).all(1) for p in (after, before))
        known = target.min(1) >= 0
    else:
        same = before.argmax(1) == after.argmax(1)
        best = np.sort(before, 1)[:, ::-1]
        margin = best[:, 0] - best[:, 1] if best.shape[1] > 1 else np.ones(len(best))
        right, right_before = (p.argmax(1) == target for p in (after, before))
        known = target >= 0
    decided = margin > TOLERANCE
    bad = (gaps > TOLERANCE) | (decided & ~same)
    order = [i for i in np.argsort(-gaps, kind="stable").tolist() if bad[i]]
    return Proof(
        images=len(before),
        split=split,
        largest=float(gaps.max()),
        same=int(same.sum()),
        decided=int(decided.sum()),
        decided_same=int((decided & same).sum()),
        right=int((right & known).sum()),
        right_before=int((right_before & known).sum()),
        labelled=int(known.sum()),
        lost=int((right_before & ~right & known).sum()),
        gained=int((right & ~right_before & known).sum()),
        different=[names[i] for i in order[:5]],
        answers=_answers(after, names),
    )


def _answers(after: np.ndarray, names: list[str]) -> dict[str, tuple[int, float]]:
    best = after.argmax(1)
    return {names[i]: (int(best[i]), round(float(after[i, best[i]]), 6)) for i in some_rows(len(after))}


def some_rows(count: int) -> list[int]:
    """Rows of the images whose answers the metadata keep: at most 200, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(_KEPT, count)).round().astype(int)).tolist()
