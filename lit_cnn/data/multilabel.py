"""Targets of images with one label, int64 (N,), or several, 0 and 1 for each class, uint8 (N, K)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def multi_hot(labels: Sequence[Sequence[str]], names: Sequence[str]) -> Tensor:
    """0 and 1 for each class, uint8 (N, K).

    Args:
        labels: the classes of each image, any number of them.
        names: of the K classes.
    """
    number = {name: i for i, name in enumerate(names)}
    targets = torch.zeros(len(labels), len(names), dtype=torch.uint8)
    cells = [(row, number[label]) for row, found in enumerate(labels) for label in found]
    if cells:
        rows, columns = torch.tensor(cells).T
        targets[rows, columns] = 1
    return targets


def images_per_class(targets: Tensor, classes: int) -> Tensor:
    """Number of images of each class, int64 (K,).

    Args:
        targets: class indices int64 (N,), or 0 and 1 for each class (N, K).
        classes: K.
    """
    return torch.bincount(targets, minlength=classes) if targets.ndim == 1 else (targets > 0).sum(0)
