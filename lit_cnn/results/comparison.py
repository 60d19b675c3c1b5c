"""Which of several runs is better on the same images, and whether that many images, or seeds, can tell. No torch."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lit_cnn.errors import UserError
from lit_cnn.results.scores import LEVEL, RESAMPLES, Score, wilson

SIGNIFICANT = 0.05  # of a p-value that Holm has corrected


class Evaluation(NamedTuple):
    """What a run predicted for the images of a split.

    Attributes:
        path: the predictions.csv.
        files: N names of images, sorted.
        true: N class names.
        predicted: N class names.
    """

    path: Path
    files: list[str]
    true: list[str]
    predicted: list[str]

    @property
    def correct(self) -> np.ndarray:
        """Whether each prediction is right, bool (N,)."""
        return np.array([a == b for a, b in zip(self.true, self.predicted, strict=True)], dtype=bool)

    @property
    def accuracy(self) -> Score:
        """With Wilson's interval."""
        return wilson(int(self.correct.sum()), len(self.files))


class Difference(NamedTuple):
    """Two runs on the same images.

    Attributes:
        first, second: positions of the runs.
        accuracy: of the first less that of the second, with the percentile interval of a paired bootstrap.
        only_first, only_second: images that only one of them has right.
        p: of McNemar's exact test, corrected by Holm's method for all pairs.
    """

    first: int
    second: int
    accuracy: Score
    only_first: int
    only_second: int
    p: float

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p < SIGNIFICANT


def read_predictions(path: Path) -> Evaluation:
    """Read a predictions.csv of images with known classes.

    Raises:
        UserError: it is no such file.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = [(row["file"], row["true"], row["predicted"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, csv.Error) as error:
        raise UserError(f"cannot read {path}: it is no table of predictions of lit-cnn") from error
    if not rows or any(None in row or not row[1] for row in rows):
        raise UserError(f"{path} has no images of known classes: only those can be compared")
    files, true, predicted = (list(column) for column in zip(*sorted(rows), strict=True))
    return Evaluation(path, files, true, predicted)


def check_same_images(names: Sequence[str], evaluations: Sequence[Evaluation]) -> None:
    """Refuse runs that were evaluated on other images, or images of other classes.

    Raises:
        UserError: names two runs and an image.
    """
    first = evaluations[0]
    for name, other in zip(names[1:], evaluations[1:], strict=True):
        if other.files != first.files:
            odd = sorted(set(first.files) ^ set(other.files))
            example = f", such as {odd[0]}" if odd else ""
            raise UserError(
                f"{names[0]} and {name} were evaluated on different images ({len(first.files):,} and "
                f"{len(other.files):,}; {len(odd):,} are not in both{example}): evaluate both on the same with "
                "`data.data_dir`"
            )
        for file, one, two in zip(first.files, first.true, other.true, strict=True):
            if one != two:
                raise UserError(f"{file} is {one!r} for {names[0]} and {two!r} for {name}: these are different labels")


def mcnemar(only_first: int, only_second: int) -> float:
    """p-value of McNemar's exact test (two-sided binomial; McNemar 1947) for images that one of two runs has right."""
    trials = only_first + only_second
    if trials == 0:
        return 1.0
    fewer = min(only_first, only_second)
    logs = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in range(fewer + 1)]
    tail = math.fsum(math.exp(log - trials * math.log(2)) for log in logs)
    return min(1.0, 2 * tail)


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, 1979): the chance that any is below a level is at most that level."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def differences(evaluations: Sequence[Evaluation], seed: int = 0) -> list[Difference]:
    """All pairs of runs, the better one first.

    Args:
        evaluations: of the same images.
        seed: of the bootstrap.
    """
    correct = [evaluation.correct for evaluation in evaluations]
    images = len(evaluations[0].files)
    pairs, found = list(combinations(range(len(evaluations)), 2)), []
    for one, two in pairs:
        first, second = (one, two) if correct[one].sum() >= correct[two].sum() else (two, one)
        only_first = int((correct[first] & ~correct[second]).sum())
        only_second = int((correct[second] & ~correct[first]).sum())
        rng = np.random.default_rng(seed)
        shares = np.array([only_first, only_second, images - only_first - only_second]) / images
        drawn = rng.multinomial(images, shares, size=RESAMPLES)  # the same as drawing images, with replacement
        tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
        low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / images, tails)
        value = (only_first - only_second) / images
        found.append(Difference(first, second, Score(value, float(low), float(high)), only_first, only_second, 0.0))
    corrected = holm([mcnemar(each.only_first, each.only_second) for each in found])
    return [each._replace(p=p) for each, p in zip(found, corrected, strict=True)]


def differing_settings(settings: Sequence[Mapping[str, object]]) -> list[str]:
    """Names of settings, flat, that are not the same in all runs."""
    names = sorted(set().union(*settings))
    return [name for name in names if len({str(each.get(name)) for each in settings}) > 1]


def disagreements(evaluations: Sequence[Evaluation]) -> list[int]:
    """Positions of images that some runs have right and others wrong; those with most disagreement first."""
    right = np.stack([evaluation.correct for evaluation in evaluations]).sum(0)
    count = len(evaluations)
    divided = np.flatnonzero((right > 0) & (right < count))
    return [int(i) for i in divided[np.argsort(np.abs(2 * right[divided] - count), kind="stable")]]


class Group(NamedTuple):
    """Runs that differ in their seed alone.

    Attributes:
        members: positions of the runs.
        mean: of their accuracies.
        deviation: standard deviation of the accuracies (n - 1); NaN of one.
    """

    members: list[int]
    mean: float
    deviation: float


def group_by_seed(settings: Sequence[Mapping[str, object]], accuracies: Sequence[float]) -> list[Group]:
    """Runs whose settings are equal but for ``seed_everything``, in the order of their first ones."""
    groups: dict[str, list[int]] = {}
    for i, each in enumerate(settings):
        key = repr(sorted((name, str(value)) for name, value in each.items() if name != "seed_everything"))
        groups.setdefault(key, []).append(i)
    found = []
    for members in groups.values():
        values = np.array([accuracies[i] for i in members])
        deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        found.append(Group(members, float(values.mean()), deviation))
    return found


def group_text(settings: Mapping[str, object], differing: Sequence[str]) -> str:
    """The first two settings in which a group of runs differs from others, such as ``backbone=plain18``."""
    names = [name for name in differing if name != "seed_everything"]
    words = [f"{name.rpartition('.')[2]}={settings.get(name, '-')}" for name in names[:2]]
    return " ".join(words + ["…"] * (len(names) > 2)) or "all seeds"


class GroupDifference(NamedTuple):
    """Two groups of runs that differ in their seed alone.

    Attributes:
        first, second: positions of the groups, that with the higher mean first.
        p: of Welch's t-test of the accuracies, corrected by Holm's method for all pairs; 1 where no run differs.
    """

    first: int
    second: int
    p: float

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than what other seeds bring."""
        return self.p < SIGNIFICANT


def group_differences(groups: Sequence[Group]) -> list[GroupDifference]:
    """All pairs of groups of two or more runs."""
    pairs = list(combinations([i for i, group in enumerate(groups) if len(group.members) > 1], 2))
    pairs = [(i, j) if groups[i].mean >= groups[j].mean else (j, i) for i, j in pairs]
    corrected = holm([_welch(groups[i], groups[j]) for i, j in pairs])
    return [GroupDifference(i, j, p) for (i, j), p in zip(pairs, corrected, strict=True)]


def _welch(one: Group, other: Group) -> float:
    """p-value of Welch's t-test (two-sided; Welch 1947)."""
    from scipy.special import stdtr

    parts = [group.deviation**2 / len(group.members) for group in (one, other)]
    variance = sum(parts)
    if variance == 0:  # equal accuracies by chance: nothing is known of what seeds bring
        return 1.0
    freedom = variance**2 / sum(
        part**2 / (len(group.members) - 1) for part, group in zip(parts, (one, other), strict=True)
    )
    return float(2 * stdtr(freedom, -abs(one.mean - other.mean) / math.sqrt(variance)))
