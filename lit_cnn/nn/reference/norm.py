"""Batch normalisation, written out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation, equal to ``torch.nn.functional.batch_norm``.

    Each channel is shifted and scaled to mean 0 and variance 1 over the batch and all positions, then scaled by
    ``weight`` and shifted by ``bias``: Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1. Evaluation takes the
    running statistics, so that an image's output does not depend on the others in its batch.

    Args:
        x: (N, C, *spatial), or (N, C).
        running_mean, running_var: (C,); in training, changed in place: the new value is ``momentum`` times the batch's
            plus ``1 - momentum`` times the old one. Here the batch's variance is divided by its number of values less
            one, and by the number itself where it normalises. Without them the batch's statistics are always taken.
        weight, bias: (C,), gamma and beta in the paper.
        training: take the statistics of this batch.
        momentum: see above.
        eps: added to the variance, inside the root.

    Returns:
        The shape of ``x``.

    Raises:
        ValueError: in training, a channel of one value, whose variance says nothing.
    """
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    if training or running_mean is None or running_var is None:
        count = x.numel() // x.shape[1]
        if training and count < 2:
            raise ValueError(f"batch normalisation needs more than one value a channel, got shape {tuple(x.shape)}")
        mean = x.mean(axes)
        var = (x - mean.view(shape)).square().mean(axes)
        if training and running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
                running_var.mul_(1 - momentum).add_(var * count / (count - 1), alpha=momentum)
    else:
        mean, var = running_mean, running_var
    out = (x - mean.view(shape)) / (var.view(shape) + eps).sqrt()
    if weight is not None:
        out = out * weight.view(shape)
    return out if bias is None else out + bias.view(shape)


class HandBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` with its forward pass written out. (N, C, H, W) -> the same shape.

    Parameters, statistics and attributes are inherited. ``momentum=None`` averages the statistics of all batches alike.
    """

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        return batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, momentum, self.eps
        )
