"""Residual networks, and plain ones without shortcuts: one class for every depth, stem and shortcut.

He, Zhang, Ren and Sun 2015, "Deep residual learning for image recognition", arXiv 1512.03385.
State-dict keys and eval outputs of the ImageNet family equal torchvision's, so its weights load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.models._argument_check import check_bool, check_choice, check_int, check_ints
from lit_cnn.models._input_check import report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.init import init_weights


class PadShortcut(nn.Module):
    """Option A of section 3.3: every second pixel, and zeros for the new channels. It has no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = out_channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.extra))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (figure 5, left). (N, C_in, H, W) -> (N, width, H / stride, W / stride)."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        shortcut: nn.Module | None,
        residual: bool,
        bottleneck: str,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=bias)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.residual:
            out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions (figure 5, right). (N, C_in, H, W) -> (N, 4 * width, H / stride, W / stride)."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        shortcut: nn.Module | None,
        residual: bool,
        bottleneck: str,
        bias: bool = False,
    ) -> None:
        super().__init__()
        # The paper strides in the first 1x1 ("v1"), which ignores three pixels of four. Striding in the 3x3
        # ("v1.5", torchvision, fb.resnet.torch) is about 0.5 % better in top-1 for 5 % more time (NVIDIA).
        first, second = (stride, 1) if bottleneck == "v1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, first, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, second, 1, bias=bias)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.residual:
            out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


def residual_stages(
    block: type[BasicBlock] | type[Bottleneck],
    layers: Sequence[int],
    widths: Sequence[int],
    in_channels: int,
    *,
    shortcut: str = "B",
    residual: bool = True,
    bottleneck: str = "v1.5",
    bias: bool = False,
) -> list[nn.Sequential]:
    """Stages of blocks; each stage after the first halves the side. See ``ResNet`` for the arguments."""
    check_choice(("A", "B", "conv"), shortcut=shortcut)
    check_choice(("v1", "v1.5"), bottleneck=bottleneck)
    check_bool(residual=residual, bias=bias)
    stages = []
    channels = in_channels
    for i, (blocks, width) in enumerate(zip(layers, widths, strict=True)):
        stage = []
        for j in range(blocks):
            stride = 2 if i > 0 and j == 0 else 1
            out = width * block.expansion
            skip: nn.Module | None = None
            if residual and (stride != 1 or channels != out):
                if shortcut == "A":
                    if out < channels:
                        raise ValueError(f"widths must not fall, got {out} after {channels}: shortcut A adds channels")
                    skip = PadShortcut(channels, out, stride)
                else:
                    norm = [nn.BatchNorm2d(out)] if shortcut == "B" else []
                    skip = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=bias), *norm)
            stage.append(block(channels, width, stride, skip, residual, bottleneck, bias))
            channels = out
        stages.append(nn.Sequential(*stage))
    return stages


class ResNet(nn.Module):
    """Stem, stages of blocks, global average, one dense layer. Input (N, C, H, W) of any size.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        layers: blocks per stage.
        num_classes: K, number of logits.
        in_channels: channels of the image.
        widths: base width of each stage.
        stem: ``imagenet`` (7x7 stride 2, then 3x3 max-pool stride 2; section 3.3) or ``cifar`` (one 3x3, stride 1;
            section 4.2), for images of about 32 pixels.
        shortcut: where a block changes shape, ``B`` (1x1 convolution and BN), ``conv`` (the convolution alone, as in
            d2l) or ``A`` (zero padding, no parameters).
        bias: biases of the convolutions, as in d2l; those before a BN have no effect.
        residual: ``False`` removes every shortcut, which leaves the plain network.
        bottleneck: of ``Bottleneck``: ``v1.5`` strides in the 3x3 convolution, ``v1`` in the first 1x1, as the paper
            does.
        include_top: ``False`` omits average and dense layer: the output is the last map, (N, C, H / 32, W / 32).
        zero_init_residual: start each block's last BN scale at 0, so that blocks start as the identity
            (Goyal et al. 2017, arXiv 1706.02677, section 5.1). Without shortcuts every block would give 0.
        init: see ``lit_cnn.nn.init``.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        stem: str = "imagenet",
        shortcut: str = "B",
        bias: bool = False,
        residual: bool = True,
        bottleneck: str = "v1.5",
        include_top: bool = True,
        zero_init_residual: bool = False,
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels)
        check_ints(1, layers=layers)
        check_ints(len(layers), len(layers), widths=widths)
        check_choice(("imagenet", "cifar"), stem=stem)
        check_bool(include_top=include_top, zero_init_residual=zero_init_residual)
        if zero_init_residual and not residual:
            raise ValueError(
                "zero_init_residual must be false without shortcuts: it makes every block give 0, got True"
            )
        self.unused_arguments: dict[str, str] = {}
        if not residual:
            self.unused_arguments["shortcut"] = "a plain network has none"
        if block is BasicBlock:
            self.unused_arguments["bottleneck"] = "its blocks are of two 3x3 convolutions"
        channels = widths[0]
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(in_channels, channels, 7, 2, 3, bias=bias)
        else:
            self.conv1 = nn.Conv2d(in_channels, channels, 3, 1, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()

        stages = residual_stages(
            block, layers, widths, channels, shortcut=shortcut, residual=residual, bottleneck=bottleneck, bias=bias
        )
        self.stages = [f"layer{i}" for i in range(1, len(stages) + 1)]
        for name, stage in zip(self.stages, stages, strict=True):
            self.add_module(name, stage)
        self.include_top = include_top
        if include_top:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(widths[-1] * block.expansion, num_classes)

        init_weights(self, init)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, BasicBlock | Bottleneck):
                    last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                    nn.init.zeros_(last.weight)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        # Shapes for ResNet-18 or 34 with the ImageNet stem; bottlenecks have 4 times the channels.
        x = self.relu(self.bn1(self.conv1(x)))  # N x 64 x 112 x 112
        x = self.maxpool(x)  # N x 64 x 56 x 56
        for stage in self.stages:  # 64 x 56 x 56, 128 x 28 x 28, 256 x 14 x 14, 512 x 7 x 7
            x = self.get_submodule(stage)(x)
        if not self.include_top:
            return x
        x = self.avgpool(x).flatten(1)  # N x 512
        return self.fc(x)  # N x K


_PAPER = "He et al. 2015, Deep residual learning, arXiv 1512.03385"
_imagenet = partial(ModelInfo, paper=f"{_PAPER}, table 1", year=2015)
_cifar = partial(ModelInfo, paper=f"{_PAPER}, section 4.2", year=2015, image_size=32, num_classes=10)

_TORCHVISION = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
_DEPTHS = {
    18: partial(ResNet, BasicBlock, (2, 2, 2, 2)),
    34: partial(ResNet, BasicBlock, (3, 4, 6, 3)),
    50: partial(ResNet, Bottleneck, (3, 4, 6, 3)),
    101: partial(ResNet, Bottleneck, (3, 4, 23, 3)),
    152: partial(ResNet, Bottleneck, (3, 8, 36, 3)),
}


def _small(depth: int, residual: bool = True) -> partial[ResNet]:
    """CIFAR net of section 4.2: 6n + 2 layers, 16-32-64 filters, identity shortcuts in all cases (option A)."""
    n = (depth - 2) // 6
    return partial(
        ResNet, BasicBlock, (n, n, n), widths=(16, 32, 64), stem="cifar", shortcut="A", residual=residual
    )  # fmt: skip


_MODELS: dict[str, ModelInfo] = {
    f"resnet{depth}": _imagenet(
        factory, parameters=_TORCHVISION[depth], source="torchvision", torchvision=f"resnet{depth}"
    )
    for depth, factory in _DEPTHS.items()
}
_MODELS |= {
    # The position of the stride does not change the parameters.
    f"resnet{depth}_v1": _imagenet(
        partial(_DEPTHS[depth], bottleneck="v1"), parameters=_TORCHVISION[depth], source="torchvision"
    )
    for depth in (50, 101, 152)
}
# A plain network lacks the 1x1 convolutions of the shortcuts and their BN:
# 64*128 + 128*256 + 256*512 + 2 * (128 + 256 + 512), of bottlenecks
# 64*256 + 256*512 + 512*1024 + 1024*2048 + 2 * (256 + 512 + 1024 + 2048).
_PROJECTIONS = {BasicBlock: 173_824, Bottleneck: 2_776_576}
_MODELS |= {
    f"plain{depth}": _imagenet(
        partial(factory, residual=False),
        parameters=_TORCHVISION[depth] - _PROJECTIONS[factory.args[0]],
        source="torchvision less projections",
    )
    for depth, factory in _DEPTHS.items()
}
# The paper's table 6 rounds these to 0.27, 0.46, 0.66, 0.85 and 1.7 million; the exact ones are layer sums.
_CIFAR = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}
_MODELS |= {
    f"resnet{depth}": _cifar(_small(depth), parameters=count, source="paper, table 6")
    for depth, count in _CIFAR.items()
}
_MODELS |= {
    f"plain{depth}": _cifar(_small(depth, residual=False), parameters=count, source="residual network")
    for depth, count in _CIFAR.items()
}

# A grey stem, ten classes, no BN in the shortcuts (1,792 numbers fewer), and 4,800 biases.
_MODELS["resnet18_d2l"] = ModelInfo(
    partial(_DEPTHS[18], shortcut="conv", bias=True, init="torch"),
    paper=f"{_PAPER}; Zhang et al. 2021, Dive into deep learning, arXiv 2106.11342, section 8.6",
    year=2021,
    image_size=96,
    in_channels=1,
    num_classes=10,
    parameters=11_178_378,
    source="d2l 8.6, layer sums",
)

add_models(_MODELS)
