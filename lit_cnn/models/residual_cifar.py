"""Wide and shallow residual networks for CIFAR-10 with hidden dense layers: a textbook's, and one with BN.

Blocks after He et al. 2015, arXiv 1512.03385, figure 5.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lit_cnn.models._argument_check import check_fraction, check_int, check_ints
from lit_cnn.models._input_check import flat_features, report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.models.resnet import BasicBlock, residual_stages
from lit_cnn.nn.dense import dense_head
from lit_cnn.nn.init import init_weights

WIDTHS = (64, 128, 256, 512)


class PlainResidual(nn.Module):
    """Two 3x3 convolutions, each followed by ReLU, plus the input: no BN, and no ReLU after the sum.

    (N, C, H, W) -> the same shape.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv2(self.relu(self.conv1(x)))) + x


class ResidualCifar(nn.Module):
    """A textbook's residual network for CIFAR-10; 53.0 of its 63.4 million parameters are in three dense layers.

    Residual blocks without BN, and between the widths 3x3 convolutions without padding. Input (N, C, image_size,
    image_size), logits (N, K). The textbook's own last layer is softmax, for the mean squared error to one-hot targets:
    here that is `model.loss=mse_softmax`.

    Args:
        num_classes: K, number of logits.
        in_channels: channels of the image.
        image_size: side of the square input in pixels; it sets the width of the first dense layer.
        blocks: residual blocks at 64, 128, 256 and 512 maps; a shorter list makes fewer of these stages.
        hidden: widths of the hidden dense layers.
        dropout: after each of them.
        init: see ``lit_cnn.nn.init``.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        blocks: Sequence[int] = (1, 2, 3, 1),
        hidden: Sequence[int] = (1024, 512),
        dropout: float = 0.5,
        init: str = "torch",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels, image_size=image_size)
        check_ints(1, len(WIDTHS), blocks=blocks)
        check_ints(0, hidden=hidden)
        check_fraction(dropout=dropout)
        self.image_size = image_size
        # The textbook has another ReLU after the pool, which changes nothing.
        layers: list[nn.Module] = [nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = WIDTHS[0]
        for count, width in zip(blocks, WIDTHS, strict=False):
            if width != channels:
                layers += [nn.Conv2d(channels, width, 3), nn.ReLU()]
            layers += [PlainResidual(width) for _ in range(count)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.unused_arguments = {} if hidden else {"dropout": "it has no hidden dense layers"}
        flat = flat_features(self.features, in_channels, image_size)
        self.classifier = dense_head(flat, hidden, num_classes, dropout=dropout)
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # 64 x 16 x 16, 128 x 14 x 14, 256 x 12 x 12, N x 512 x 10 x 10
        return self.classifier(x.flatten(1))  # N x K


class ResidualCifarBN(nn.Module):
    """3x3 stem, stages 64-128-256-512, global average, dense 1024-512. Input (N, C, H, W), logits (N, K).

    Args:
        num_classes: K, number of logits.
        in_channels: channels of the image.
        blocks: residual blocks per stage, each of two 3x3 convolutions; a shorter list makes fewer stages.
        hidden: widths of the hidden dense layers.
        dropout: after each of them.
        init: see ``lit_cnn.nn.init``.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        blocks: Sequence[int] = (1, 1, 1, 1),
        hidden: Sequence[int] = (1024, 512),
        dropout: float = 0.5,
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels)
        check_ints(1, len(WIDTHS), blocks=blocks)
        check_ints(0, hidden=hidden)
        check_fraction(dropout=dropout)
        widths = WIDTHS[: len(blocks)]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.Sequential(*residual_stages(BasicBlock, blocks, widths, widths[0]))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.unused_arguments = {} if hidden else {"dropout": "it has no hidden dense layers"}
        self.classifier = dense_head(widths[-1], hidden, num_classes, dropout=dropout)
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # N x 64 x 32 x 32
        x = self.stages(x)  # 64 x 32 x 32, 128 x 16 x 16, 256 x 8 x 8, N x 512 x 4 x 4
        x = self.avgpool(x).flatten(1)  # N x 512
        return self.classifier(x)  # N x K


_MODELS: dict[str, ModelInfo] = {
    "residual_cifar": ModelInfo(
        ResidualCifar,
        paper="after He et al. 2015, arXiv 1512.03385; a textbook's network for CIFAR-10",
        year=2015,
        image_size=32,
        num_classes=10,
        parameters=63_435_018,
        source="layer sums",
    ),
    "residual_cifar_bn": ModelInfo(
        ResidualCifarBN,
        paper="blocks of He et al. 2015, arXiv 1512.03385, figure 5",
        year=2015,
        image_size=32,
        num_classes=10,
        parameters=5_953_354,
        source="layer sums",
    ),
}

add_models(_MODELS)
