"""Plain residual networks written from the course notes' layer lists, from ``torch.nn`` alone."""

from __future__ import annotations

from torch import nn
from torch.nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential

from tests.models.plain_networks import Branches


def residual(channels: int, width: int, stride: int, *, d2l: bool) -> nn.Module:
    """In d2l convolutions have biases, and the 1x1 one where the shape changes has no BN."""
    main = Sequential(
        Conv2d(channels, width, 3, stride, 1, bias=d2l), BatchNorm2d(width), ReLU(),
        Conv2d(width, width, 3, 1, 1, bias=d2l), BatchNorm2d(width),
    )  # fmt: skip
    norm = [] if d2l else [BatchNorm2d(width)]
    short = nn.Identity() if stride == 1 else Sequential(Conv2d(channels, width, 1, stride, bias=d2l), *norm)
    return Sequential(Branches(main, short, add=True), ReLU())


def eighteen_layers(*, d2l: bool) -> list[nn.Module]:
    widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
    blocks = [residual(*block, d2l=d2l) for w in widths for block in (w, (w[1], w[1], 1))]
    return [*blocks, AdaptiveAvgPool2d(1), Flatten(), Linear(512, 10)]


def handwritten_resnet18() -> nn.Module:
    stem = [Conv2d(1, 64, 7, 2, 3), BatchNorm2d(64), ReLU(), MaxPool2d(3, 2, 1)]
    return Sequential(*stem, *eighteen_layers(d2l=True))


def lab_resnet18() -> nn.Module:
    stem = [Conv2d(3, 64, 3, 1, 1, bias=False), BatchNorm2d(64), ReLU()]
    return Sequential(*stem, *eighteen_layers(d2l=False))
