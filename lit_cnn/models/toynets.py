"""Toy networks for experiments: the effect of a layer, a dilation or a shortcut, all else being equal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from lit_cnn.models._argument_check import check_bool, check_fraction, check_int, check_ints
from lit_cnn.models._input_check import report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.models.resnet import BasicBlock, residual_stages
from lit_cnn.nn.init import init_weights


class ConvNet(nn.Module):
    """3x3 convolutions with BN and ReLU, global average, one dense layer. Input (N, C, H, W), logits (N, K).

    Args:
        num_classes: K, number of logits.
        in_channels: channels of the image.
        widths: filters of the convolutions.
        dilations: spacing of each kernel's taps; padding keeps the size. 1-2-5 reads every pixel of a 17x17 window,
            2-2-2 only every second one (hybrid dilated convolution: Wang et al. 2017, arXiv 1702.08502, section 3.2).
        pool: 2x2 max-pool after each convolution. Without it the map keeps the size of the image, as dilation needs.
        dropout: before the dense layer.
        init: see ``lit_cnn.nn.init``.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128),
        dilations: Sequence[int] = (1, 1, 1),
        pool: bool = True,
        dropout: float = 0.0,
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels)
        check_ints(1, widths=widths)
        check_ints(len(widths), len(widths), dilations=dilations)
        check_bool(pool=pool)
        check_fraction(dropout=dropout)
        layers: list[nn.Module] = []
        channels = in_channels
        for width, dilation in zip(widths, dilations, strict=True):
            layers += [
                nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            if pool:
                layers.append(nn.MaxPool2d(2))
            channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # N x 128 x H / 8 x W / 8, or N x 128 x H x W without pooling
        x = self.avgpool(x).flatten(1)  # N x 128
        return self.fc(self.dropout(x))  # N x K


class DeepNet(nn.Module):
    """18 3x3 convolutions in nine blocks, with shortcuts or without. Input (N, C, H, W), logits (N, K).

    Shortcuts pad with zeros where shapes change, so a seed gives both forms the same parameters.

    Args:
        num_classes: K, number of logits.
        in_channels: channels of the image.
        residual: with shortcuts around every two convolutions, or without.
        widths: filters of the three stages of three blocks; with shortcuts they must not fall.
        init: see ``lit_cnn.nn.init``.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        residual: bool = True,
        widths: Sequence[int] = (32, 64, 128),
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels)
        check_ints(1, widths=widths)
        blocks = [3] * len(widths)
        self.stages = nn.Sequential(
            *residual_stages(BasicBlock, blocks, widths, in_channels, shortcut="A", residual=residual)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], num_classes)
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(x)  # N x 32 x H x W, N x 64 x H / 2 x W / 2, N x 128 x H / 4 x W / 4
        x = self.avgpool(x).flatten(1)  # N x 128
        return self.fc(x)  # N x K


_he = partial(
    ModelInfo, paper="after He et al. 2015, arXiv 1512.03385, section 4.1", year=2015, image_size=32, num_classes=10
)

_MODELS: dict[str, ModelInfo] = {
    "convnet": ModelInfo(
        ConvNet,
        paper="BN: Ioffe and Szegedy 2015, arXiv 1502.03167",
        year=2015,
        image_size=32,
        num_classes=10,
        # 864 + 18,432 + 73,728, BN 2 * 224, 1,290
        parameters=94_762,
        source="layer sums",
    ),
    "dilated_convnet": ModelInfo(
        partial(ConvNet, dilations=(1, 2, 5), pool=False),
        paper="Wang et al. 2017, Understanding convolution for semantic segmentation, arXiv 1702.08502, section 3.2",
        year=2017,
        image_size=32,
        num_classes=10,
        parameters=94_762,
        source="layer sums",
    ),
    "plain_deep": _he(partial(DeepNet, residual=False), parameters=1_064_682, source="layer sums"),
    "residual_deep": _he(DeepNet, parameters=1_064_682, source="layer sums"),
}

add_models(_MODELS)
