"""What the steps of a task give callbacks in evaluation."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor


class EvaluationOutput(TypedDict):
    """Output of a classifier's validation, test and prediction step."""

    index: Tensor  # int64 (N,), positions in the split
    target: Tensor  # int64 (N,), below 0: unknown
    probs: Tensor  # float32 (N, K)


class RestorationScores(TypedDict, total=False):
    """What an image restorer's step gives where there is a target."""

    target: Tensor  # float (N, C, H, W), the clear image
    psnr: Tensor  # float32 (N,), dB
    ssim: Tensor  # float32 (N,)
    psnr_input: Tensor  # float32 (N,), dB: of what the network was given
    ssim_input: Tensor  # float32 (N,)


class RestorationOutput(RestorationScores):
    """Output of an image restorer's validation, test and prediction step."""

    index: Tensor  # int64 (N,), positions in the split
    image: Tensor  # float (N, C, H, W), what the network was given
    restored: Tensor  # float32 (N, C, H, W) in [0, 1]
