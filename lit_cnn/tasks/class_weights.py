"""Class weights of the training loss, given or computed from the training images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from lit_cnn.errors import UserError, nearest

ClassWeights = Literal["balanced"] | list[float] | dict[str, float]


def check_class_weights(setting: ClassWeights | None, num_classes: int) -> None:
    """Refuse weights that cannot work, before anything is read.

    Raises:
        UserError: a wrong number of weights, or one that is not above 0.
    """
    if isinstance(setting, str) and setting != "balanced":
        raise UserError(f"`model.class_weights` is {setting!r}: give balanced, a list, or weights by class name")
    if setting is None or isinstance(setting, str):
        return
    values = list(setting.values()) if isinstance(setting, Mapping) else list(setting)
    if not isinstance(setting, Mapping) and len(values) != num_classes:
        raise UserError(
            f"`model.class_weights` has {len(values)} values, but there are {num_classes} classes: give one for each, "
            "in their order, or some of them by name, such as {rare: 5}"
        )
    if bad := [value for value in values if not (math.isfinite(value) and value > 0)]:
        raise UserError(f"`model.class_weights` holds {bad[0]}: every weight must be a number above 0")


def resolve_class_weights(setting: ClassWeights, names: Sequence[str], targets: Tensor) -> Tensor:
    """Weights of all classes, float32 (K,).

    Args:
        setting: ``balanced``; one weight for each class, in their order; or weights by class name, 1 for the others.
        names: of the K classes.
        targets: of all training samples: class indices int64 (N,), of which ``balanced`` is N / (K N_k), as in
            scikit-learn's ``compute_class_weight``, with K the number of classes that occur; or 0 and 1 for each class
            (N, K), of which it is the number of samples without the class over that with it (torch's suggestion for
            ``pos_weight``). A class that does not occur has 1.

    Raises:
        UserError: a name that is no class.
    """
    if isinstance(setting, Mapping):
        given = {str(name): weight for name, weight in setting.items()}
        if unknown := [name for name in given if name not in names]:
            listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            hint = nearest(unknown[0], names) or ";"
            raise UserError(f"`model.class_weights` names {unknown[0]!r}, which is no class{hint} classes: {listed}")
        return torch.tensor([given.get(name, 1.0) for name in names])
    if not isinstance(setting, str):
        return torch.tensor([float(weight) for weight in setting])
    if targets.ndim == 1:
        count = torch.bincount(targets, minlength=len(names)).double()
        weights = len(targets) / ((count > 0).sum() * count)
    else:
        count = (targets > 0).sum(0).double()
        weights = (len(targets) - count) / count
    return torch.where((count > 0) & (weights > 0), weights, 1.0).float()


def describe_class_weights(weights: Tensor, names: Sequence[str], count: int = 10) -> str:
    """One line with the weights, float (K,), of the first classes."""
    listed = [f"{name} {weight:.3g}" for name, weight in zip(names, weights.tolist(), strict=True)]
    more = f" and {len(listed) - count} more" if len(listed) > count else ""
    return f"class weights: {', '.join(listed[:count])}{more}"
