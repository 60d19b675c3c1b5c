"""Labels that look wrong (confident learning), and which unlabelled images are most worth a label."""

from __future__ import annotations

import numpy as np

_FOLDS = 5
_L2 = 1e-3  # per image; features of a network separate small sets perfectly, which makes probabilities of 0 and 1


def held_out_probabilities(features: np.ndarray, labels: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """Return probabilities by a logistic regression that has not seen the image: cross-validated.

    Args:
        features: float (N, F), of a network.
        labels: int (N,), as given.
        classes: Their number.
        seed: Of the folds, which are stratified.

    Returns:
        float (N, classes). A class of one image is only in the other folds' models by chance.
    """
    from sklearn.linear_model import LogisticRegression

    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 1e-6, spread, 1) / np.sqrt(features.shape[1])
    rng = np.random.default_rng(seed)
    fold = np.empty(len(labels), np.int64)
    for label in range(classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        fold[members] = np.arange(len(members)) % _FOLDS
    probs = np.zeros((len(labels), classes))
    for k in np.unique(fold):
        train, test = fold != k, fold == k
        seen = np.unique(labels[train])
        if len(seen) < 2:
            probs[test] = 1 / classes
            continue
        model = LogisticRegression(C=1 / (_L2 * train.sum()), max_iter=200)
        model.fit(scaled[train], labels[train])
        probs[np.ix_(test, seen)] = model.predict_proba(scaled[test])
    return probs


def suspicious_labels(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank the labels that look wrong (Northcutt, Jiang and Chuang, "Confident Learning", JAIR 70, 2021, section 3).

    An image counts as confidently of class k where its probability of k is at least the mean of those labelled k; where
    the likeliest such class is not its label, the label is suspicious.

    Args:
        probs: float (N, K), by a model that has not seen the image.
        labels: int (N,).

    Returns:
        Indices of the suspicious images, the least plausible label first (by the margin of the label's probability to
        the largest other), and the class that each looks like.
    """
    classes = probs.shape[1]
    thresholds = np.array([probs[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(classes)])
    confident = np.where(probs >= thresholds, probs, -1)
    looks = confident.argmax(axis=1)
    suspicious = (confident.max(axis=1) >= 0) & (looks != labels)
    own = probs[np.arange(len(labels)), labels]
    margin = own - probs[np.arange(len(labels)), looks]
    chosen = np.flatnonzero(suspicious)
    chosen = chosen[np.argsort(margin[chosen], kind="stable")]
    return chosen, looks[chosen]


def worth_labelling(probs: np.ndarray, features: np.ndarray, count: int) -> np.ndarray:
    """Choose unlabelled images that the model is unsure of and that differ from one another.

    Greedy: the next image has the largest product of its uncertainty (1 minus the margin of the two likeliest classes)
    and its distance to the nearest image chosen before, on features of length 1.

    Args:
        probs: float (N, K).
        features: float (N, F).
        count: How many.

    Returns:
        int indices, the most useful first.
    """
    top = np.sort(probs, axis=1)[:, ::-1]
    unsure = 1 - (top[:, 0] - top[:, 1] if probs.shape[1] > 1 else top[:, 0])
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    distance = np.ones(len(unit))
    chosen: list[int] = []
    for _ in range(min(count, len(unit))):
        value = unsure * distance
        value[chosen] = -1
        chosen.append(int(value.argmax()))
        distance = np.minimum(distance, 1 - unit @ unit[chosen[-1]])
    return np.array(chosen, np.int64)
