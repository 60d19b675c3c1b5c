"""Occlusion: how much less probable a class becomes when a part of the image is covered.

Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import EllipsisType

import torch
from torch import Tensor

Scores = Callable[[Tensor], Tensor]  # images (N, C, H, W) to probabilities (N, K)


@torch.no_grad()
def occlusion(
    scores: Scores,
    images: Tensor,
    classes: Tensor,
    window: int | None = None,
    stride: int | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Drop of the class's probability, float32 (N, H, W), at each pixel the mean over the windows that cover it.

    A window is filled with 0, which is the mean colour of normalized images. Below 0, the class became more probable.

    Args:
        scores: probabilities of images.
        images: float (N, C, H, W), as the network gets them.
        classes: int64 (N,), the classes to explain.
        window: side of the square, in pixels; None: a fifth of the image's shorter side.
        stride: between windows, in pixels; None: half the window. Those at the lower and right edge are cut off there.
        batch_size: covered images at a time.
    """
    height, width = images.shape[2:]
    window = max(1, round(min(height, width) / 5)) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    tops, lefts = (_starts(side, window, stride) for side in (height, width))
    places = [(top, left) for top in tops for left in lefts]
    whole = scores(images).float().gather(1, classes.view(-1, 1))  # (N, 1)
    drops = torch.zeros(images.shape[0], height, width, device=images.device)
    counts = torch.zeros(height, width, device=images.device)
    for place in places:
        counts[_area(place, window)] += 1
    for row, (image, number) in enumerate(zip(images, classes, strict=True)):
        for start in range(0, len(places), batch_size):
            part = places[start : start + batch_size]
            covered = image.repeat(len(part), 1, 1, 1)
            for copy, place in zip(covered, part, strict=True):
                copy[_area(place, window)] = 0
            found = whole[row] - scores(covered).float()[:, number]
            for place, drop in zip(part, found, strict=True):
                drops[row][_area(place, window)] += drop
    return drops / counts.clamp_min(1)


def _starts(side: int, window: int, stride: int) -> list[int]:
    """Where windows start along a side, so that all of it is covered."""
    return [i * stride for i in range(1 + max(0, math.ceil((side - window) / stride)))]


def _area(place: tuple[int, int], window: int) -> tuple[EllipsisType, slice, slice]:
    return ..., slice(place[0], place[0] + window), slice(place[1], place[1] + window)
