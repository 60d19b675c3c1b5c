"""Images that grow during training."""

from __future__ import annotations

GROWING = 2 / 3  # of the epochs; the others have the full size, which is that of evaluation


def progressive_size(full: tuple[int, int], start: float, epoch: int, epochs: int | None) -> tuple[int, int]:
    """Height and width of the training images of an epoch.

    They grow linearly, in steps of 32 pixels for sides of 128 and more, of 16 from 64 and of 4 below: convolutions are
    fast at such sizes, and a compiled network is compiled anew for each.

    Args:
        full: Height and width that they end at.
        start: Share of them in the first epoch.
        epoch: Number of the epoch, from 0.
        epochs: Of the run; None or -1 if nobody knows: then it is the full size.
    """
    if epochs is None or epochs < 1:
        return full
    share = min(1.0, start + (1 - start) * epoch / (GROWING * epochs))
    step = 32 if min(full) >= 128 else 16 if min(full) >= 64 else 4
    if share == 1:
        return full
    height, width = (min(side, max(step, round(side * share / step) * step)) for side in full)
    return height, width
