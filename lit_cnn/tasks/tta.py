"""Test-time augmentation (TTA): the mean of a network's logits over mirrored and shifted copies of each image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

TTAName = Literal["none", "flip", "flip_shift"]


def average_logits(network: Callable[[Tensor], Tensor], image: Tensor, how: TTAName) -> Tensor:
    """Logits float32 (N, K) of images float (N, C, H, W), averaged over copies of each image.

    Jordan 2024, arXiv 2404.00498, section 3.5, as airbench94 evaluates:

    - ``flip``: the image and its mirror image, a half each (twice the work)
    - ``flip_shift``: half of that, and half of the same over two copies shifted by a pixel, up-left and down-right,
      with reflected borders (six times the work)
    """
    if how == "none":
        return network(image).float()
    plain = _mirrored(network, image)
    if how == "flip":
        return plain
    height, width = image.shape[-2:]
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    shifted = [_mirrored(network, padded[:, :, s : s + height, s : s + width]) for s in (0, 2)]
    return plain / 2 + (shifted[0] + shifted[1]) / 4


def _mirrored(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    return (network(image).float() + network(image.flip(-1)).float()) / 2
