"""Whether a heat map says what the network does: deletion, insertion, and networks whose weights were shuffled."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.interpret.occlusion import Scores


class Faithfulness(NamedTuple):
    """Areas under the curve of a class's probability, each float32 (N,) in [0, 1].

    Attributes:
        deletion: while pixels are removed, the hottest first: a good map has a small area.
        insertion: while they appear in a blurred image, the hottest first: a good map has a large area.
    """

    deletion: Tensor
    insertion: Tensor


@torch.no_grad()
def deletion_insertion(scores: Scores, images: Tensor, classes: Tensor, maps: Tensor, steps: int = 10) -> Faithfulness:
    """The deletion and insertion metrics of Petsiuk et al. 2018 (RISE, arXiv 1806.07421), section 4.3.

    Removed pixels become 0, the mean colour of normalized images. The curve has ``steps`` + 1 points at equal
    distances, from all pixels of the start to all of the end; its area is that of the trapezoids below it.

    Args:
        scores: probabilities of images.
        images: float (N, C, H, W), as the network gets them.
        classes: int64 (N,).
        maps: float (N, H, W), larger where an image speaks for the class.
        steps: parts in which pixels are removed or appear.
    """
    count = maps[0].numel()
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(count, device=order.device).expand_as(order))
    rank = rank.view_as(maps)[:, None]  # (N, 1, H, W): 0 for the hottest pixel
    curves = []
    for start, end in ((images, torch.zeros_like(images)), (_blurred(images), images)):
        points = [
            scores(torch.where(rank < round(count * step / steps), end, start)).float().gather(1, classes.view(-1, 1))
            for step in range(steps + 1)
        ]
        curves.append(torch.trapezoid(torch.cat(points, 1), dim=1) / steps)
    return Faithfulness(*curves)


def _blurred(images: Tensor) -> Tensor:
    """Images blurred so that no object can be seen: the mean of windows of a fifth of the side, twice."""
    half = max(1, min(images.shape[2:]) // 10)
    for _ in range(2):
        padded = F.pad(images, (half, half, half, half), mode="replicate")
        images = F.avg_pool2d(padded, 2 * half + 1, stride=1)
    return images


def with_shuffled_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of the network that has learned nothing: the values of each parameter in random order."""
    copied, generator = copy.deepcopy(network), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copied.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return copied.eval()


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's correlation of the pixels of two batches of maps (N, H, W), float32 (N,); NaN where a map is constant.

    The sanity check of Adebayo et al. 2018 (arXiv 1810.03292): a map that the weights do not change, shows edges and
    not what the network has learned. Equal values have the mean of their ranks.
    """
    return torch.stack([_correlation(_ranks(a), _ranks(b)) for a, b in zip(first, second, strict=True)])


def _ranks(values: Tensor) -> Tensor:
    _, place, counts = values.flatten().double().unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[place]


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(), b - b.mean()
    norm = a.norm() * b.norm()
    return (a @ b / norm).float()  # 0 / 0 where one is constant, such as an empty map: nothing can be said
