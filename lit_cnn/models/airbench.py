"""airbench94: a small network that reaches 94 % on CIFAR-10 in a few epochs.

Jordan 2024, "94 % on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498, section 3.1 (airbench94).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_cnn.models._argument_check import check_int, check_ints, check_positive
from lit_cnn.models._input_check import report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.whitening import WhiteningConv2d


def _norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    """BN with its scale fixed at 1; the shift is learnt."""
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=momentum)
    norm.weight.requires_grad = False
    return norm


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution whose first filters start as the identity, the others random (section 3.3)."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:in_channels])
    return conv


class AirbenchBlock(nn.Module):
    """Convolution, 2x2 max-pool, BN, GELU, convolution, BN, GELU. (N, C, H, W) -> (N, width, H / 2, W / 2)."""

    def __init__(self, in_channels: int, width: int, momentum: float) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, width)
        self.pool = nn.MaxPool2d(2)
        self.norm1 = _norm(width, momentum)
        self.conv2 = _conv(width, width)
        self.norm2 = _norm(width, momentum)
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm1(self.pool(self.conv1(x))))
        return self.activation(self.norm2(self.conv2(x)))


class AirbenchNet(nn.Module):
    """Whitening layer, three blocks, global maximum, scaled dense head. Input (N, C, H, W), logits (N, K).

    Call ``init_from_data`` before training; otherwise the first layer keeps its random weights.

    Departure from the paper: the last pooling takes the maximum of the full map, which for 32-pixel images is its
    3x3 max-pool, so that it takes other sizes too.

    Args:
        num_classes: K, number of logits.
        in_channels: channels of the image.
        widths: of the three blocks.
        bn_momentum: weight of the new batch in BN's running statistics; with few steps it must be large.
        scale: factor of the logits, 1/9; airbench94 with Muon has 1/256.
        head_std: standard deviation of the head's initial weights; by default PyTorch's. airbench94 with Muon has 1.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 256, 256),
        bn_momentum: float = 0.4,
        scale: float = 1 / 9,
        head_std: float | None = None,
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels)
        check_ints(1, widths=widths)
        check_positive(1, bn_momentum=bn_momentum)
        check_positive(scale=scale, head_std=1.0 if head_std is None else head_std)
        self.whiten = WhiteningConv2d(in_channels, 2)
        self.activation = nn.GELU()
        blocks, channels = [], self.whiten.out_channels
        for width in widths:
            blocks.append(AirbenchBlock(channels, width, bn_momentum))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, num_classes, bias=False)
        self.scale = scale
        if head_std is not None:
            with torch.no_grad():
                self.fc.weight.mul_(head_std / self.fc.weight.std())

    def init_from_data(self, images: Tensor) -> None:
        """Compute the first layer from training images: float (N, C, H, W), normalised as in training."""
        self.whiten.fit(images)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.whiten(x))  # N x 24 x 31 x 31
        x = self.blocks(x)  # 64 x 15 x 15, 256 x 7 x 7, N x 256 x 3 x 3
        x = x.amax((2, 3))  # N x 256
        return self.fc(x) * self.scale  # N x K


_MODELS: dict[str, ModelInfo] = {
    "speednet": ModelInfo(
        AirbenchNet,
        paper="Jordan 2024, 94 % on CIFAR-10 in 3.29 seconds, arXiv 2404.00498, section 3.1",
        year=2024,
        image_size=32,
        num_classes=10,
        parameters=1_972_792,
        source="paper: 1.97 M; exact by layer sums",
    ),
}

add_models(_MODELS)
