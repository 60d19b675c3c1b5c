"""GoogLeNet.

Szegedy et al. 2014, "Going deeper with convolutions", arXiv 1409.4842, table 1 and section 5.
Layers are named as in torchvision, whose weights do not fit, because its 5x5 branches are 3x3.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.models._argument_check import check_bool, check_choice, check_fraction, check_int
from lit_cnn.models._input_check import report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.init import init_weights
from lit_cnn.nn.pooling import adaptive_avg_pool2d

# Table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Conv(nn.Module):
    """Convolution, batch normalisation if asked for, ReLU unless declined. (N, C_in, H, W) -> (N, C_out, H', W')."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        *,
        norm: bool,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=not norm)
        self.bn = nn.BatchNorm2d(out_channels) if norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four parallel branches (figure 2b). (N, C, H, W) -> (N, c1 + c3 + c5 + pool, H, W)."""

    def __init__(self, in_channels: int, widths: tuple[int, int, int, int, int, int], *, norm: bool) -> None:
        super().__init__()
        conv = partial(Conv, norm=norm)
        c1, r3, c3, r5, c5, pool = widths
        self.branch1 = conv(in_channels, c1, 1)
        self.branch2 = nn.Sequential(conv(in_channels, r3, 1), conv(r3, c3, 3, padding=1))
        # A true 5x5, as in the paper; torchvision has 3x3 here by a known bug (pytorch/vision issue 906).
        self.branch3 = nn.Sequential(conv(in_channels, r5, 1), conv(r5, c5, 5, padding=2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(in_channels, pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class AuxiliaryHead(nn.Module):
    """A classifier on a middle map (section 5). (N, C, 14, 14) -> (N, K). Used in training only.

    Departure: dropout is an argument, 0.5 by default; the paper has 0.7.
    """

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float, norm: bool) -> None:
        super().__init__()
        self.conv = Conv(in_channels, 128, 1, norm=norm)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 5, 3)  # N x 512 x 4 x 4
        # Maps that were not 14 x 14 are pooled to 4 x 4 as well; on a 4 x 4 map this is the identity.
        x = adaptive_avg_pool2d(x, (4, 4))
        x = self.conv(x).flatten(1)  # N x 2048
        x = F.relu(self.fc1(self.dropout(x)))  # N x 1024
        return self.fc2(self.dropout(x))  # N x K


class GoogLeNet(nn.Module):
    """Nine inception modules. Input (N, C, H, W); in training mode (logits, aux1, aux2), in eval mode logits (N, K).

    Departures from the paper: no local response normalisation, and a dropout layer before
    each of the two dense layers of an auxiliary head.

    Args:
        num_classes: K, number of logits.
        in_channels: channels of the image.
        aux_heads: classifiers on 4a (512 channels) and 4d (528 channels).
        batch_norm: BN after every convolution (Ioffe and Szegedy 2015, arXiv 1502.03167), which then has no bias.
        dropout: before the last dense layer, 0.4 in the paper.
        aux_dropout: in the auxiliary heads.
        pool: of the four max-pools between stages, ``ceil`` rounds odd sizes up (torchvision), ``pad``
            pads by one (d2l).
        stem_relu: ReLUs after the second and third convolution, d2l's block 2. Its first edition has none there, so
            that the two convolutions are one linear map.
        init: see ``lit_cnn.nn.init``; Xavier is that of the authors' Caffe definition. With ``kaiming``
            the many 1x1 reductions amplify the signal: logits start with a standard deviation of 80 and the loss at
            50 instead of 2.3 (ten classes, without BN).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        aux_heads: bool = True,
        batch_norm: bool = False,
        dropout: float = 0.4,
        aux_dropout: float = 0.5,
        pool: str = "ceil",
        stem_relu: bool = True,
        init: str = "xavier",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels)
        check_bool(aux_heads=aux_heads, batch_norm=batch_norm, stem_relu=stem_relu)
        check_fraction(dropout=dropout, aux_dropout=aux_dropout)
        check_choice(("ceil", "pad"), pool=pool)
        conv, inception = partial(Conv, norm=batch_norm), partial(Inception, norm=batch_norm)
        max_pool = partial(nn.MaxPool2d, stride=2, padding=int(pool == "pad"), ceil_mode=pool == "ceil")

        # Five blocks, as d2l counts them; each ends where the map is down-sampled.
        self.conv1 = conv(in_channels, 64, 7, 2, 3)
        self.maxpool1 = max_pool(3)

        self.conv2 = conv(64, 64, 1, relu=stem_relu)
        self.conv3 = conv(64, 192, 3, padding=1, relu=stem_relu)
        self.maxpool2 = max_pool(3)

        self.inception3a = inception(192, INCEPTIONS["3a"])
        self.inception3b = inception(256, INCEPTIONS["3b"])
        self.maxpool3 = max_pool(3)

        self.inception4a = inception(480, INCEPTIONS["4a"])
        self.inception4b = inception(512, INCEPTIONS["4b"])
        self.inception4c = inception(512, INCEPTIONS["4c"])
        self.inception4d = inception(512, INCEPTIONS["4d"])
        self.inception4e = inception(528, INCEPTIONS["4e"])
        self.maxpool4 = max_pool(3)

        self.inception5a = inception(832, INCEPTIONS["5a"])
        self.inception5b = inception(832, INCEPTIONS["5b"])

        self.aux_heads = aux_heads
        if aux_heads:
            self.aux1 = AuxiliaryHead(512, num_classes, dropout=aux_dropout, norm=batch_norm)
            self.aux2 = AuxiliaryHead(528, num_classes, dropout=aux_dropout, norm=batch_norm)
        self.unused_arguments = {} if aux_heads else {"aux_dropout": "it has no auxiliary heads"}
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        x = self.maxpool1(self.conv1(x))  # N x 64 x 112 x 112, N x 64 x 56 x 56
        x = self.conv3(self.conv2(x))  # N x 192 x 56 x 56
        x = self.maxpool2(x)  # N x 192 x 28 x 28
        x = self.inception3a(x)  # N x 256 x 28 x 28
        x = self.inception3b(x)  # N x 480 x 28 x 28
        x = self.maxpool3(x)  # N x 480 x 14 x 14
        x = self.inception4a(x)  # N x 512 x 14 x 14
        heads = self.training and self.aux_heads
        aux1 = self.aux1(x) if heads else None
        x = self.inception4b(x)  # N x 512 x 14 x 14
        x = self.inception4c(x)  # N x 512 x 14 x 14
        x = self.inception4d(x)  # N x 528 x 14 x 14
        aux2 = self.aux2(x) if heads else None
        x = self.inception4e(x)  # N x 832 x 14 x 14
        x = self.maxpool4(x)  # N x 832 x 7 x 7
        x = self.inception5a(x)  # N x 832 x 7 x 7
        x = self.inception5b(x)  # N x 1024 x 7 x 7
        x = self.dropout(self.avgpool(x).flatten(1))  # N x 1024
        logits = self.fc(x)  # N x K
        if aux1 is not None and aux2 is not None:
            return logits, aux1, aux2
        return logits


_row = partial(
    ModelInfo, paper="Szegedy et al. 2014, Going deeper with convolutions, arXiv 1409.4842, table 1", year=2014
)

_MODELS: dict[str, ModelInfo] = {
    "googlenet": _row(GoogLeNet, parameters=13_378_280, source="Caffe model zoo, bvlc_googlenet"),
    "googlenet_bn": _row(
        partial(GoogLeNet, batch_norm=True),
        paper="Ioffe and Szegedy 2015, Batch normalization, arXiv 1502.03167 (layers of 1409.4842)",
        year=2015,
        parameters=13_378_280 + 7_536,  # one scale more than the bias for each of 7,536 filters
        source="layer sums",
    ),
    "googlenet_d2l": _row(
        partial(GoogLeNet, aux_heads=False, dropout=0.0, pool="pad"),
        image_size=96,
        in_channels=1,
        num_classes=10,
        parameters=5_977_530,
        source="d2l 8.4, layer sums",
    ),
}

add_models(_MODELS)
