"""Whether an image is unlike those that a network knows: out-of-distribution (OOD) detection. NumPy only.

The score is the mean of two numbers, each in standard deviations above the mean of the validation images: the cosine
distance of the features before the head to the fifth nearest of the validation images' features (Sun et al. 2022,
"Out-of-distribution detection with deep nearest neighbors", arXiv 2204.06507), and the network's doubt, 1 less the
largest probability (Hendrycks and Gimpel 2017, arXiv 1610.02136). Nothing is trained, and no image of the other kind is
needed; ``python -m benchmarks.ood`` measures how far that goes. Features are kept as coordinates in the subspace of 64
dimensions that holds most of them; what an image has outside of it counts as distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 5
DIMENSIONS = 64
MOST = 1000  # images of the bank
FEWEST = 20
SHARE = 0.05  # of the validation images, whose score is above the threshold
_LEAST_SPREAD = 0.01  # of a distance or a doubt: that of a network that is always sure is almost 0


@dataclass(frozen=True)
class OODDetector:
    """What is kept of the validation images.

    Attributes:
        basis: float16 (D, d), orthonormal columns.
        bank: float16 (M, d), coordinates of features of length 1.
        distance: mean and standard deviation of their distances to one another.
        doubt: mean and standard deviation.
        threshold: images with a higher score are unlike the validation images.
    """

    basis: np.ndarray
    bank: np.ndarray
    distance: tuple[float, float]
    doubt: tuple[float, float]
    threshold: float


def fit_ood(features: np.ndarray, doubt: np.ndarray) -> OODDetector | None:
    """Keep the features of validation images; None where they are too few, or not finite.

    Args:
        features: float (N, D), of which at most a thousand, evenly spaced, are kept.
        doubt: float (N,), 1 less the probability of the predicted class.
    """
    chosen = np.linspace(0, len(features) - 1, min(MOST, len(features))).round().astype(int)
    features, doubt = features[chosen], doubt[chosen].astype(np.float64)
    if len(features) < FEWEST or not (np.isfinite(features).all() and np.isfinite(doubt).all()):
        return None
    unit = _unit(features.astype(np.float64))
    if unit.shape[1] <= DIMENSIONS:
        basis = np.eye(unit.shape[1])
    else:  # the eigenvectors of the larger eigenvalues, not centred: angles are kept
        basis = np.linalg.eigh(unit.T @ unit)[1][:, : -DIMENSIONS - 1 : -1]
    basis = basis.astype(np.float16)
    bank = (unit @ basis.astype(np.float64)).astype(np.float16)
    similarity = bank.astype(np.float32) @ bank.astype(np.float32).T
    np.fill_diagonal(similarity, -np.inf)  # of itself
    distance = _distance(similarity)
    found = OODDetector(basis, bank, _spread(distance), _spread(doubt), 0.0)
    scores = _combine(found, distance, doubt)
    return OODDetector(basis, bank, found.distance, found.doubt, float(np.quantile(scores, 1 - SHARE)))


def ood_scores(detector: OODDetector, coordinates: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """Scores float32 (N,): 0 is that of an average validation image, higher is stranger.

    Args:
        detector: of the network.
        coordinates: float (N, d): features of length 1 times ``basis``.
        doubt: float (N,).
    """
    distance = _distance(coordinates.astype(np.float32) @ detector.bank.astype(np.float32).T)
    return _combine(detector, distance, doubt)


def project(detector: OODDetector, features: np.ndarray) -> np.ndarray:
    """Coordinates, float32 (N, d), of features, float (N, D)."""
    return (_unit(features.astype(np.float32)) @ detector.basis.astype(np.float32)).astype(np.float32)


def _combine(detector: OODDetector, distance: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    far, unsure = (
        (value - mean) / std for value, (mean, std) in ((distance, detector.distance), (doubt, detector.doubt))
    )
    return ((far + unsure) / 2).astype(np.float32)


def _spread(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), max(_LEAST_SPREAD, float(values.std()))


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _distance(similarity: np.ndarray) -> np.ndarray:
    return 1 - np.partition(similarity, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS]
