"""VGG networks.

Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition",
arXiv 1409.1556, table 1. State-dict keys and outputs of 11 to 19 equal torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from lit_cnn.models._argument_check import check_bool, check_choice, check_fraction, check_int, check_ints
from lit_cnn.models._input_check import report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.dense import ACTIVATIONS, DROPOUT_AT, dense_head
from lit_cnn.nn.init import init_weights
from lit_cnn.nn.pooling import AdaptiveAvgPool2d

# 3x3 convolutions per stage; each stage ends with a 2x2 max-pool. 7 and 9 are not in the paper: they are its
# network A shortened to three and four stages, for small images. Textbook code of the three stages stops with an error:
# its dense layers are built for 512 x 7 x 7 = 25,088 values, and its last map has 256 x 7 x 7 = 12,544.
STAGES = {
    "7": (1, 1, 2),
    "7_wide": (1, 1, 1, 1),
    "9": (1, 1, 2, 2),
    "11": (1, 1, 2, 2, 2),  # A
    "13": (2, 2, 2, 2, 2),  # B
    "16": (2, 2, 3, 3, 3),  # D; C with third_kernel=1
    "19": (2, 2, 4, 4, 4),  # E
}
WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Stages of 3x3 convolutions, then dense layers. Input (N, C, H, W), logits (N, K).

    Departure from the paper: the last map is averaged to ``pool_to`` pixels, so that it takes other sizes than 224
    (as in torchvision); at 224 pixels and 7 it changes nothing.

    Args:
        stages: convolutions per stage, for up to five stages.
        num_classes: K, number of logits.
        in_channels: channels of the image.
        batch_norm: BN between convolution and activation (not in the paper).
        hidden: widths of the hidden dense layers, none for the CIFAR form.
        dropout: in the dense layers.
        dropout_at: ``after`` drops the outputs of each hidden dense layer (paper, torchvision), ``before`` its inputs,
            ``all`` the inputs of every dense layer. Weight files whose dense layers are numbered by another choice
            load as well.
        activation: ``relu`` or ``relu6`` (or ``sigmoid``, ``tanh``).
        head_activation: of the dense layers; by default that of the convolutions.
        third_kernel: kernel of the third convolution of a stage, 1 in the paper's network C.
        pool_to: side of the map that the dense layers take.
        init: see ``lit_cnn.nn.init``. Without BN, ``normal`` does not train from 11 layers on (section 3.1).
    """

    def __init__(
        self,
        stages: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        batch_norm: bool = False,
        hidden: Sequence[int] = (4096, 4096),
        dropout: float = 0.5,
        dropout_at: str = "after",
        activation: str = "relu",
        head_activation: str | None = None,
        third_kernel: int = 3,
        pool_to: int = 7,
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels, pool_to=pool_to)
        check_ints(1, len(WIDTHS), stages=stages)
        check_ints(0, hidden=hidden)
        check_fraction(dropout=dropout)
        check_bool(batch_norm=batch_norm)
        check_choice(DROPOUT_AT, dropout_at=dropout_at)
        check_choice(ACTIVATIONS, activation=activation)
        if head_activation is not None:
            check_choice(ACTIVATIONS, head_activation=head_activation)
        if third_kernel not in (1, 3) or isinstance(third_kernel, bool):
            raise ValueError(f"third_kernel must be 1 or 3, got {third_kernel!r}")
        act = ACTIVATIONS[activation]
        layers: list[nn.Module] = []
        channels = in_channels
        for blocks, width in zip(stages, WIDTHS, strict=False):
            for i in range(blocks):
                kernel = third_kernel if i == 2 else 3
                layers.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(act())
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.unused_arguments: dict[str, str] = {}
        if not hidden:
            self.unused_arguments["head_activation"] = "it has no hidden dense layers"
            if dropout_at != "all":
                self.unused_arguments["dropout"] = "it has no hidden dense layers"
        if max(stages) < 3:
            self.unused_arguments["third_kernel"] = "no stage has a third convolution"
        self.avgpool = AdaptiveAvgPool2d(pool_to)
        self.classifier = dense_head(
            channels * pool_to**2,
            hidden,
            num_classes,
            dropout=dropout,
            activation=head_activation or activation,
            dropout_at=dropout_at,
        )
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        # 64 x 112 x 112, 128 x 56 x 56, 256 x 28 x 28, 512 x 14 x 14, 512 x 7 x 7
        x = self.features(x)  # N x 512 x 7 x 7
        x = self.avgpool(x).flatten(1)  # N x 25088
        return self.classifier(x)  # N x K


_row = partial(ModelInfo, paper="Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1", year=2014)
_TORCHVISION = {"11": 132_863_336, "13": 133_047_848, "16": 138_357_544, "19": 143_667_240}
_TORCHVISION_BN = {"11": 132_868_840, "13": 133_053_736, "16": 138_365_992, "19": 143_678_248}
# With BN and one dense layer, on 10 classes, as in github.com/kuangliu/pytorch-cifar.
_KUANGLIU = {"11": 9_231_114, "13": 9_416_010, "16": 14_728_266, "19": 20_040_522}
# 7, 7_wide and 9: convolutions 960,896, 1,550,976 and 4,500,864, BN 1,408, 1,920 and 3,456, dense layers 72,262,632
# and 123,642,856 (CIFAR form: 2,570 and 5,130).
_HAND = {"7": 73_223_528, "7_wide": 125_193_832, "9": 128_143_720}
_HAND_BN = {"7": 73_224_936, "7_wide": 125_195_752, "9": 128_147_176}
_HAND_CIFAR = {"7": 964_874, "7_wide": 1_558_026, "9": 4_509_450}

_MODELS: dict[str, ModelInfo] = {}
for _depth, _stages in STAGES.items():
    for _suffix, _norm, _published, _hand in (
        ("", False, _TORCHVISION, _HAND),
        ("_bn", True, _TORCHVISION_BN, _HAND_BN),
    ):
        _in_torchvision = _depth in _published
        _MODELS[f"vgg{_depth}{_suffix}"] = _row(
            partial(VGG, _stages, batch_norm=_norm),
            parameters=(_published | _hand)[_depth],
            source="torchvision" if _in_torchvision else "layer sums",
            torchvision=f"vgg{_depth}{_suffix}" if _in_torchvision else None,
        )
    _MODELS[f"vgg{_depth}_cifar"] = _row(
        partial(VGG, _stages, batch_norm=True, hidden=(), pool_to=1),
        image_size=32,
        num_classes=10,
        parameters=(_KUANGLIU | _HAND_CIFAR)[_depth],
        source="kuangliu/pytorch-cifar" if _depth in _KUANGLIU else "layer sums",
    )

# Network D with 1x1 instead of 3x3 in three places: 8 * (256 * 256 + 2 * 512 * 512) fewer. The paper says 134 million.
_MODELS["vgg16_c"] = _row(
    partial(VGG, STAGES["16"], third_kernel=1), parameters=_TORCHVISION["16"] - 4_718_592, source="layer sums"
)

add_models(_MODELS)
