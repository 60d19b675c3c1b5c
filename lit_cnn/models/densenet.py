"""Densely connected networks.

Huang, Liu, van der Maaten and Weinberger 2016, "Densely connected convolutional networks", arXiv 1608.06993, table 1.
State-dict keys and eval outputs of 121, 161, 169 and 201 equal torchvision's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.models._argument_check import (
    check_bool,
    check_choice,
    check_fraction,
    check_int,
    check_ints,
    check_positive,
)
from lit_cnn.models._input_check import report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.init import init_weights


class DenseLayer(nn.Module):
    """BN, ReLU, 3x3 convolution, after a 1x1 one to ``bottleneck`` * growth channels unless 0 (DenseNet-B, section 3).

    (N, C, H, W) -> (N, growth, H, W).
    """

    def __init__(self, in_channels: int, growth: int, *, bottleneck: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.bottleneck = bottleneck > 0
        if self.bottleneck:
            narrow = bottleneck * growth
            self.conv1 = nn.Conv2d(in_channels, narrow, 1, bias=bias)
            self.norm2 = nn.BatchNorm2d(narrow)
            self.relu2 = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(narrow, growth, 3, padding=1, bias=bias)
        else:
            self.conv1 = nn.Conv2d(in_channels, growth, 3, padding=1, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.relu1(self.norm1(x)))
        if self.bottleneck:
            x = self.conv2(self.relu2(self.norm2(x)))
        return self.dropout(x)


class DenseBlock(nn.Module):
    """Layers that each take the maps of all previous ones. (N, C, H, W) -> (N, C + layers * growth, H, W)."""

    def __init__(
        self, layers: int, in_channels: int, growth: int, *, bottleneck: int, dropout: float, bias: bool
    ) -> None:
        super().__init__()
        for i in range(layers):
            layer = DenseLayer(in_channels + i * growth, growth, bottleneck=bottleneck, dropout=dropout, bias=bias)
            self.add_module(f"denselayer{i + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], 1)
        return x


def _transition(in_channels: int, out_channels: int, bias: bool) -> nn.Sequential:
    """BN, ReLU, 1x1 convolution, 2x2 average pool. (N, C, H, W) -> (N, C_out, H / 2, W / 2)."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, out_channels, 1, bias=bias),
            pool=nn.AvgPool2d(2),
        )
    )


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions between, global average, one dense layer. Input (N, C, H, W).

    Args:
        blocks: layers per dense block.
        num_classes: K, number of logits.
        in_channels: channels of the image.
        growth_rate: channels that each layer adds, k in the paper.
        stem_channels: filters of the first convolution; the paper takes 2 * k (64 for k = 32).
        stem: ``imagenet`` (7x7 stride 2, then 3x3 max-pool stride 2) or ``cifar`` (one 3x3, stride 1; section 3).
        bottleneck: 1x1 convolutions before the 3x3 ones.
        bn_size: their filters, as a multiple of ``growth_rate``.
        bias: biases of the convolutions, as in d2l; a BN follows them all.
        compression: fraction of the channels that a transition keeps, theta in the paper.
        dropout: after each convolution of a dense layer (0.2 in section 4.2, where data is not augmented).
        init: see ``lit_cnn.nn.init``.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        growth_rate: int = 32,
        stem_channels: int = 64,
        stem: str = "imagenet",
        bottleneck: bool = True,
        bn_size: int = 4,
        bias: bool = False,
        compression: float = 0.5,
        dropout: float = 0.0,
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        check_int(
            num_classes=num_classes,
            in_channels=in_channels,
            growth_rate=growth_rate,
            stem_channels=stem_channels,
            bn_size=bn_size,
        )
        check_ints(1, blocks=blocks)
        check_choice(("imagenet", "cifar"), stem=stem)
        check_bool(bottleneck=bottleneck, bias=bias)
        check_positive(1, compression=compression)
        check_fraction(dropout=dropout)
        self.unused_arguments = {} if bottleneck else {"bn_size": "it has no bottlenecks"}
        block = partial(
            DenseBlock, growth=growth_rate, bottleneck=bn_size if bottleneck else 0, dropout=dropout, bias=bias
        )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if stem == "imagenet":
            layers["conv0"] = nn.Conv2d(in_channels, stem_channels, 7, 2, 3, bias=bias)
            layers["norm0"] = nn.BatchNorm2d(stem_channels)
            layers["relu0"] = nn.ReLU(inplace=True)
            layers["pool0"] = nn.MaxPool2d(3, 2, 1)
        else:
            layers["conv0"] = nn.Conv2d(in_channels, stem_channels, 3, padding=1, bias=bias)
        channels = stem_channels
        for i, count in enumerate(blocks, start=1):
            layers[f"denseblock{i}"] = block(count, channels)
            channels += count * growth_rate
            if i < len(blocks):
                kept = int(channels * compression)
                if kept < 1:
                    raise ValueError(f"compression must keep at least one of {channels} channels, got {compression!r}")
                layers[f"transition{i}"] = _transition(channels, kept, bias)
                channels = kept
        layers["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels, num_classes)
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        # DenseNet-121: stem 64 x 56 x 56, then 256 x 56 x 56, 512 x 28 x 28, 1024 x 14 x 14, 1024 x 7 x 7,
        # with the transitions halving channels and sides in between.
        x = F.relu(self.features(x), inplace=True)  # N x 1024 x 7 x 7
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)  # N x 1024
        return self.classifier(x)  # N x K


_PAPER = "Huang et al. 2016, Densely connected convolutional networks, arXiv 1608.06993"
_row = partial(ModelInfo, paper=f"{_PAPER}, table 1", year=2016)
_cifar = partial(ModelInfo, paper=f"{_PAPER}, table 2", year=2016, image_size=32, num_classes=10)
_torchvision = partial(_row, source="torchvision")

_MODELS: dict[str, ModelInfo] = {
    "densenet121": _torchvision(
        partial(DenseNet, (6, 12, 24, 16)), parameters=7_978_856, torchvision="densenet121"
    ),
    # A textbook's default: 26 layers in the last block, 2 * 68 + 5 in all.
    "densenet141": _row(
        partial(DenseNet, (6, 12, 24, 26)), paper=f"{_PAPER}, section 3", parameters=10_189_096, source="layer sums"
    ),
    "densenet161": _torchvision(
        partial(DenseNet, (6, 12, 36, 24), growth_rate=48, stem_channels=96),
        parameters=28_681_000, torchvision="densenet161",
    ),
    "densenet169": _torchvision(
        partial(DenseNet, (6, 12, 32, 32)), parameters=14_149_480, torchvision="densenet169"
    ),
    "densenet201": _torchvision(
        partial(DenseNet, (6, 12, 48, 32)), parameters=20_013_928, torchvision="densenet201"
    ),
    "densenet264": _row(
        partial(DenseNet, (6, 12, 64, 48)), parameters=33_337_704, source="paper, figure 3: 33 M; exact by layer sums"
    ),
    # d2l 8.7: four blocks of four layers, no bottleneck. Its convolutions have biases, which the BN after them cancels.
    "densenet_small": _row(
        partial(DenseNet, (4, 4, 4, 4), bottleneck=False, init="xavier"), image_size=96, in_channels=1, num_classes=10,
        parameters=758_226 - 904, source="d2l 8.7 less its biases",
    ),
    "densenet40_cifar": _cifar(
        partial(
            DenseNet, (12, 12, 12), growth_rate=12, stem_channels=16, stem="cifar", bottleneck=False, compression=1.0
        ),
        parameters=1_019_722, source="paper: 1.0 M; exact by layer sums",
    ),
    "densenet100_cifar": _cifar(
        partial(DenseNet, (16, 16, 16), growth_rate=12, stem_channels=24, stem="cifar"),
        parameters=769_162, source="paper: 0.8 M; exact by layer sums",
    ),
}  # fmt: skip

add_models(_MODELS)
