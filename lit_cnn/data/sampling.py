"""Training images of an epoch: each once, or as many of each class, as a pure function of seed and epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_cnn.data.transforms.rng import counter_bits
from lit_cnn.errors import UserError

SAMPLING = ("natural", "balanced")
_BITS = 40  # of a key that are the index of a sample; above them is the number of its repeat in the epoch


def rows(keys: Tensor) -> Tensor:
    """Indices of samples, int64 (N,), of keys, int64 (N,)."""
    return keys & ((1 << _BITS) - 1)


def balanced(indices: Tensor, targets: Tensor, seed: int, epoch: int) -> Tensor:
    """Choose as many images as there are, the same number of each class.

    The images of a class take turns: over the epochs each is used about as often as any other of it. Images of rare
    classes are used several times an epoch.

    Args:
        indices: int64 (N,), the training images.
        targets: int64 (N,), their classes.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.

    Returns:
        Keys, int64 (N,), by class: :func:`rows` gives the images. The keys of an image that is used several times
        differ, so that it is augmented in another way each time.

    Raises:
        UserError: Images have several labels.
    """
    if targets.ndim != 1:
        raise UserError(
            "`data.sampling=balanced` needs one label an image, and these have several: set "
            "`model.class_weights=balanced`"
        )
    classes = targets.unique()
    share, rest = divmod(len(indices), len(classes))
    # the places that do not divide go round the classes, in a fixed order of them
    order = torch.argsort(counter_bits(seed, 0, classes, ["balanced"])[0])
    chosen = []
    for position, number in enumerate(classes[order].tolist()):
        members = indices[targets == number]
        # one endless sequence of passes over the class, in a new order each; an epoch takes the next part of it
        start, end = (
            each * share + (each * rest + len(classes) - 1 - position) // len(classes) for each in (epoch, epoch + 1)
        )
        turns = torch.arange(start, end)
        passes = turns // len(members)
        for number_of_pass in passes.unique().tolist():
            bits = counter_bits(seed, number_of_pass, members, [f"balanced/{number}"])[0]
            places = turns[passes == number_of_pass] % len(members)
            chosen.append(members[torch.argsort(bits, stable=True)[places]] | (number_of_pass - passes[0]) << _BITS)
    return torch.cat(chosen)
