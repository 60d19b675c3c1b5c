"""Patch whitening: a first convolution computed from the data instead of learnt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WhiteningConv2d(nn.Conv2d):
    """A fixed convolution whose outputs on the data's patches are uncorrelated with variance 1, each with both signs.

    Page 2018, "How to train your ResNet, part 8"; Jordan 2024, arXiv 2404.00498, section 3.2. Input (N, C, H, W),
    output (N, 2 * C * kernel², H - kernel + 1, W - kernel + 1). The weight has no gradient, the bias has one. Until
    ``fit`` is called the weight is PyTorch's random one; it is part of the state dict either way.

    Args:
        in_channels: C.
        kernel: side of a patch in pixels.
    """

    def __init__(self, in_channels: int, kernel: int = 2) -> None:
        super().__init__(in_channels, 2 * in_channels * kernel**2, kernel)
        self.weight.requires_grad = False

    @torch.no_grad()
    def fit(self, images: Tensor, eps: float = 5e-4) -> None:
        """Compute the weight from float images (N, C, H, W), normalised as in training. 5,000 of them are enough.

        Args:
            eps: added to the variances, so that directions without variance are not amplified.
        """
        kernel = self.kernel_size[0]
        size, count = self.weight[0].numel(), 0
        covariance = torch.zeros(size, size, dtype=torch.float64)
        for chunk in images.split(500):  # the patches of 5,000 images at once would take 0.5 GB
            patches = F.unfold(chunk.cpu().double(), kernel).transpose(1, 2).flatten(0, 1)  # (patches, C * kernel²)
            # Not centred, as published: normalised images have a mean near 0.
            covariance += patches.T @ patches
            count += len(patches)
        covariance /= count
        variances, directions = torch.linalg.eigh(covariance)
        filters = directions.T / (variances + eps).sqrt()[:, None]
        filters = filters.flip(0).view(-1, *self.weight.shape[1:])  # largest variance first
        self.weight.copy_(torch.cat([filters, -filters]))
        assert self.bias is not None
        self.bias.zero_()
