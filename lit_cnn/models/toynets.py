"""Toy networks for experiments: the effect of a layer, a dilation or a shortcut, all else being equal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from lit_cnn.models._argument_check import check_bool, check_choice, check_fraction, check_int, check_ints
from lit_cnn.models._input_check import report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.models.resnet import BasicBlock, residual_stages
from lit_cnn.nn.init import init_weights
from lit_cnn.nn.reference.conv import write_out_convolutions


class ConvNet(nn.Module):
    """Convolutions with BN and ReLU, global average, one dense layer. Input (N, C, H, W), logits (N, K).

    The defaults are a course's: three 3x3 convolutions with biases and without padding, on maps of 30, 28 and 26 pixels
    from 32, or 30, 26 and 16 with dilations 1-2-5. Its one-layer network with a hand-written convolution starts from
    N(0, 1) and, as printed, adds up each window over the whole batch, so that all images get the same maps; here each
    has its own, and the first weights are torch's.

    Args:
        num_classes: K, number of logits.
        in_channels: channels of the image.
        widths: filters of the convolutions.
        dilations: spacing of each kernel's taps. 1-2-5 reads every pixel of a 17x17 window,
            2-2-2 only every second one (hybrid dilated convolution: Wang et al. 2017, arXiv 1702.08502, section 3.2).
        kernel: side of the kernels.
        padding: zeros around the maps, so that each keeps its size.
        bias: of the convolutions; the BN after them cancels it.
        pool: 2x2 max-pool after each convolution. Without it the map keeps the size of the image, as dilation needs.
        dropout: before the dense layer.
        conv: ``torch``, or ``hand`` for the convolution written out in ``lit_cnn.nn.reference.conv``.
        init: see ``lit_cnn.nn.init``.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128),
        dilations: Sequence[int] = (1, 1, 1),
        kernel: int = 3,
        padding: bool = False,
        bias: bool = True,
        pool: bool = False,
        dropout: float = 0.0,
        conv: str = "torch",
        init: str = "torch",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels, kernel=kernel)
        check_ints(1, widths=widths)
        check_ints(len(widths), len(widths), dilations=dilations)
        check_bool(padding=padding, bias=bias, pool=pool)
        check_fraction(dropout=dropout)
        check_choice(("torch", "hand"), conv=conv)
        if padding and kernel % 2 == 0:
            raise ValueError(f"kernel must be odd with padding, which keeps the size of the maps, got {kernel}")
        layers: list[nn.Module] = []
        channels = in_channels
        for width, dilation in zip(widths, dilations, strict=True):
            border = dilation * (kernel // 2) if padding else 0
            layers += [
                nn.Conv2d(channels, width, kernel, padding=border, dilation=dilation, bias=bias),
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
        if conv == "hand":
            write_out_convolutions(self)
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # N x 128 x H - 6 x W - 6, or as padding, dilations and pooling make them
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

_BN = "BN: Ioffe and Szegedy 2015, arXiv 1502.03167"
_HDC = "Wang et al. 2017, Understanding convolution for semantic segmentation, arXiv 1702.08502, section 3.2"
_toy = partial(ModelInfo, image_size=32, num_classes=10, source="layer sums")
_padded = partial(ConvNet, padding=True, bias=False, init="kaiming")

_MODELS: dict[str, ModelInfo] = {
    # 896 + 18,496 + 73,856, BN 2 * 224, 1,290
    "convnet": _toy(ConvNet, paper=_BN, year=2015, parameters=94_986),
    "dilated_convnet": _toy(partial(ConvNet, dilations=(1, 2, 5)), paper=_HDC, year=2017, parameters=94_986),
    "myconvnet": _toy(
        partial(ConvNet, widths=(32,), dilations=(1,), conv="hand"), paper=_BN, year=2015, parameters=1_290
    ),
    # 864 + 18,432 + 73,728, BN 2 * 224, 1,290
    "convnet_pooled": _toy(partial(_padded, pool=True), paper=_BN, year=2015, parameters=94_762),
    "dilated_convnet_padded": _toy(partial(_padded, dilations=(1, 2, 5)), paper=_HDC, year=2017, parameters=94_762),
    "plain_deep": _he(partial(DeepNet, residual=False), parameters=1_064_682, source="layer sums"),
    "residual_deep": _he(DeepNet, parameters=1_064_682, source="layer sums"),
}

add_models(_MODELS)
