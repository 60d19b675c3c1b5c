"""A network, a data set, a loss and an augmentation that lit-cnn knows by name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

import lit_cnn
from lit_cnn.data import Digits


@lit_cnn.register_model(image_size=28, in_channels=1, num_classes=10)
def tiny_net(num_classes: int, in_channels: int, width: int = 16) -> nn.Module:
    """Two convolutions and a head; float (N, C, H, W) to logits (N, K)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, stride=2, padding=1),  # N x width x 14 x 14
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),  # N x 2 width x 7 x 7
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, num_classes),
    )


class EvenOrOdd(Digits):
    """The digits, classified as even or odd."""

    CLASSES = ("even", "odd")

    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Images uint8 (N, 1, 8, 8), and 0 for an even digit, 1 for an odd one, int64 (N,)."""
        images, digits = super().read(split)
        return images, digits % 2


@lit_cnn.register_loss
def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss with gamma 2 (Lin et al. 2017, arXiv 1708.02002, equation 4): float (N, K) to float (N,)."""
    cross_entropy = F.cross_entropy(logits, target, reduction="none")
    return (1 - torch.exp(-cross_entropy)) ** 2 * cross_entropy


@lit_cnn.register_transform
def blur(sigma: float = 1.0) -> v2.Transform:
    """Gaussian blur of half of the images."""
    return v2.RandomApply([v2.GaussianBlur(kernel_size=3, sigma=(0.1, sigma))], p=0.5)
