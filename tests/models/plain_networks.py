"""Plain networks written from the course notes' layer lists, from ``torch.nn`` alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    ReLU6,
    Sequential,
)


def mlp() -> nn.Module:
    return Sequential(Flatten(), Linear(784, 256), ReLU(), Linear(256, 10))


def vgg_maps(
    stages: list[list[int]], *, channels: int = 3, norm: bool = False, kernels: tuple[int, ...] = (3, 3, 3)
) -> list[nn.Module]:
    """Convolutions of each stage, by their widths, and a 2x2 max-pool after it."""
    layers: list[nn.Module] = []
    for widths in stages:
        for width, kernel in zip(widths, (*kernels, 3), strict=False):
            layers.append(Conv2d(channels, width, kernel, padding=kernel // 2))
            layers += [BatchNorm2d(width), ReLU()] if norm else [ReLU()]
            channels = width
        layers.append(MaxPool2d(2, 2))
    return layers


VGG_C = [[64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3]
VGG_13 = [[64, 64], [128, 128], [256, 256], [512, 512], [512, 512]]


def textbook_head(values: int, classes: int) -> list[nn.Module]:
    return [
        AdaptiveAvgPool2d((7, 7)), Flatten(),
        Dropout(0.4), Linear(values, 4096), ReLU6(),
        Dropout(0.4), Linear(4096, 2048), ReLU6(),
        Dropout(0.4), Linear(2048, classes),
    ]  # fmt: skip


def textbook_vgg13_bn() -> nn.Module:
    return Sequential(*vgg_maps(VGG_13, norm=True), *textbook_head(25_088, 1000))


def textbook_vgg7() -> nn.Module:
    """The textbook's stops at its first dense layer, built for 25,088 values; this one is built for 12,544."""
    return Sequential(*vgg_maps([[64], [128], [256, 256]]), *textbook_head(12_544, 10))


def scripts_vgg16() -> nn.Module:
    head = [
        Flatten(), Dropout(0.5), Linear(25_088, 2048), ReLU(),
        Dropout(0.5), Linear(2048, 2048), ReLU(), Linear(2048, 5),
    ]  # fmt: skip
    return Sequential(*vgg_maps(VGG_C), *head)


def paper_head(classes: int) -> list[nn.Module]:
    return [
        Flatten(), Linear(25_088, 4096), ReLU(), Dropout(0.5), Linear(4096, 4096), ReLU(), Dropout(0.5),
        Linear(4096, classes),
    ]  # fmt: skip


def vgg_c() -> nn.Module:
    return Sequential(*vgg_maps(VGG_C, kernels=(3, 3, 1)), *paper_head(1000))


def handwritten_vgg11() -> nn.Module:
    stages = [[64], [128], [256, 256], [512, 512], [512, 512]]
    return Sequential(*vgg_maps(stages, channels=1), *paper_head(10))


def lenet(
    channels: int, *widths: int, pool: type[nn.Module], act: type[nn.Module], padding: int, flat: int
) -> nn.Module:
    first, second = widths
    return Sequential(
        Conv2d(channels, first, 5, padding=padding), act(), pool(2, 2), Conv2d(first, second, 5), act(), pool(2, 2),
        Flatten(), Linear(flat, 120), act(), Linear(120, 84), act(), Linear(84, 10),
    )  # fmt: skip


def keras_cnn() -> nn.Module:
    return Sequential(
        Conv2d(1, 32, 3), ReLU(), MaxPool2d(2), Conv2d(32, 64, 3), ReLU(), MaxPool2d(2), Conv2d(64, 64, 3), ReLU(),
        Flatten(), Linear(576, 64), ReLU(), Linear(64, 10),
    )  # fmt: skip


def alexnet_head(flat: int, width: int, classes: int) -> list[nn.Module]:
    return [
        Flatten(), Linear(flat, width), ReLU(), Dropout(0.5), Linear(width, width), ReLU(), Dropout(0.5),
        Linear(width, classes),
    ]  # fmt: skip


def textbook_alexnet() -> nn.Module:
    return Sequential(
        Conv2d(1, 96, 11, 4), ReLU(), MaxPool2d(3, 2), Conv2d(96, 256, 5, 1, 2), ReLU(), MaxPool2d(3, 2),
        Conv2d(256, 384, 3, 1, 1), ReLU(), Conv2d(384, 384, 3, 1, 1), ReLU(), Conv2d(384, 256, 3, 1, 1), ReLU(),
        MaxPool2d(3, 2), *alexnet_head(6400, 4096, 1000),
    )  # fmt: skip


def described_alexnet() -> nn.Module:
    """The textbook's description: two groups, and normalisation (alpha is divided by n in torch) after pooling."""
    return Sequential(
        Conv2d(3, 96, 11, 4), ReLU(), MaxPool2d(3, 2), LocalResponseNorm(5, 5e-4, 0.75, 2.0),
        Conv2d(96, 256, 5, 1, 2, groups=2), ReLU(), MaxPool2d(3, 2), LocalResponseNorm(5, 5e-4, 0.75, 2.0),
        Conv2d(256, 384, 3, 1, 1), ReLU(), Conv2d(384, 384, 3, 1, 1, groups=2), ReLU(),
        Conv2d(384, 256, 3, 1, 1, groups=2), ReLU(), MaxPool2d(3, 2), *alexnet_head(9216, 4096, 1000),
    )  # fmt: skip


def handwritten_alexnet() -> nn.Module:
    return Sequential(
        Conv2d(1, 96, 11, 4), ReLU(), MaxPool2d(3, 2, 1), Conv2d(96, 256, 5, 2), ReLU(), MaxPool2d(3, 2, 1),
        Conv2d(256, 384, 3), ReLU(), Conv2d(384, 256, 3), ReLU(), Conv2d(256, 256, 3), ReLU(), MaxPool2d(3, 2, 1),
        *alexnet_head(6400, 4096, 10),
    )  # fmt: skip


def scripts_alexnet() -> nn.Module:
    return Sequential(
        Conv2d(3, 48, 11, 4, 2), ReLU(), MaxPool2d(3, 2), Conv2d(48, 128, 5, padding=2), ReLU(), MaxPool2d(3, 2),
        Conv2d(128, 192, 3, padding=1), ReLU(), Conv2d(192, 192, 3, padding=1), ReLU(),
        Conv2d(192, 128, 3, padding=1), ReLU(), MaxPool2d(3, 2), Flatten(),
        Dropout(0.5), Linear(128 * 6 * 6, 2048), ReLU(), Dropout(0.5), Linear(2048, 2048), ReLU(), Linear(2048, 5),
    )  # fmt: skip


def nin_block(channels: int, *widths: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    first, second, third = widths
    return [
        Conv2d(channels, first, kernel, stride, padding), ReLU(), Conv2d(first, second, 1), ReLU(),
        Conv2d(second, third, 1), ReLU(),
    ]  # fmt: skip


def textbook_nin(drop: type[nn.Module], pool: nn.Module) -> nn.Module:
    return Sequential(
        *nin_block(3, 192, 160, 96, kernel=5, padding=2), MaxPool2d(3, 2, 1), drop(0.5),
        *nin_block(96, 192, 192, 192, kernel=5, padding=2), MaxPool2d(3, 2, 1), drop(0.5),
        *nin_block(192, 192, 192, 10, kernel=3, padding=1)[:-1], pool, Flatten(),
    )  # fmt: skip


def handwritten_nin() -> nn.Module:
    return Sequential(
        *nin_block(1, 96, 96, 96, kernel=11, stride=4), MaxPool2d(3, 2),
        *nin_block(96, 256, 256, 256, kernel=5, padding=2), MaxPool2d(3, 2),
        *nin_block(256, 384, 384, 384, kernel=3, padding=1), MaxPool2d(3, 2), Dropout(0.5),
        *nin_block(384, 10, 10, 10, kernel=3, padding=1), AdaptiveAvgPool2d(1), Flatten(),
    )  # fmt: skip


class Branches(nn.Module):
    """Paths from one input, their outputs concatenated or added."""

    def __init__(self, *paths: nn.Module, add: bool = False) -> None:
        super().__init__()
        self.paths, self.add = nn.ModuleList(paths), add

    def forward(self, x: Tensor) -> Tensor:
        out = [path(x) for path in self.paths]
        return sum(out[1:], out[0]) if self.add else torch.cat(out, 1)


def inception(channels: int, c1: int, c2: tuple[int, int], c3: tuple[int, int], c4: int) -> nn.Module:
    return Branches(
        Sequential(Conv2d(channels, c1, 1), ReLU()),
        Sequential(Conv2d(channels, c2[0], 1), ReLU(), Conv2d(c2[0], c2[1], 3, padding=1), ReLU()),
        Sequential(Conv2d(channels, c3[0], 1), ReLU(), Conv2d(c3[0], c3[1], 5, padding=2), ReLU()),
        Sequential(MaxPool2d(3, 1, 1), Conv2d(channels, c4, 1), ReLU()),
    )


def inceptions(pool: Callable[[], nn.Module]) -> dict[str, nn.Module]:
    return {
        "3a": inception(192, 64, (96, 128), (16, 32), 32), "3b": inception(256, 128, (128, 192), (32, 96), 64),
        "pool3": pool(),
        "4a": inception(480, 192, (96, 208), (16, 48), 64), "4b": inception(512, 160, (112, 224), (24, 64), 64),
        "4c": inception(512, 128, (128, 256), (24, 64), 64), "4d": inception(512, 112, (144, 288), (32, 64), 64),
        "4e": inception(528, 256, (160, 320), (32, 128), 128),
        "pool4": pool(),
        "5a": inception(832, 256, (160, 320), (32, 128), 128), "5b": inception(832, 384, (192, 384), (48, 128), 128),
    }  # fmt: skip


def handwritten_googlenet() -> nn.Module:
    """Block 2 without ReLUs."""
    pool = partial(MaxPool2d, 3, 2, 1)
    return Sequential(
        Conv2d(1, 64, 7, 2, 3), ReLU(), pool(), Conv2d(64, 64, 1), Conv2d(64, 192, 3, padding=1), pool(),
        *inceptions(pool).values(), AdaptiveAvgPool2d(1), Flatten(), Linear(1024, 10),
    )  # fmt: skip


class ScriptsGoogLeNet(nn.Module):
    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        pool = partial(MaxPool2d, 3, 2, ceil_mode=True)
        self.stem = Sequential(
            Conv2d(3, 64, 7, 2, 3), ReLU(), pool(),
            Conv2d(64, 64, 1), ReLU(), Conv2d(64, 192, 3, padding=1), ReLU(), pool(),
        )  # fmt: skip
        self.modules_by_name = Sequential(OrderedDict(inceptions(pool)))
        self.aux = nn.ModuleList(self.head(channels, classes) for channels in (512, 528))
        self.end = Sequential(AdaptiveAvgPool2d(1), Flatten(), Dropout(0.4), Linear(1024, classes))

    @staticmethod
    def head(channels: int, classes: int) -> nn.Module:
        return Sequential(
            AvgPool2d(5, 3), Conv2d(channels, 128, 1), ReLU(), Flatten(),
            Dropout(0.5), Linear(2048, 1024), ReLU(), Dropout(0.5), Linear(1024, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = self.stem(x)
        aux = []
        for name, module in self.modules_by_name.named_children():
            x = module(x)
            if self.training and name in ("4a", "4d"):
                aux.append(self.aux[len(aux)](x))
        return (self.end(x), *aux) if self.training else self.end(x)


def dense_layers(layers: int, channels: int, growth: int, bn_size: int, drop: float = 0.0) -> list[nn.Module]:
    """Each concatenates its input and what it computes; with ``bn_size`` 0 no 1x1 convolutions, but biases."""
    found: list[nn.Module] = []
    for _ in range(layers):
        inner = bn_size * growth or channels
        narrow = [BatchNorm2d(channels), ReLU(), Conv2d(channels, inner, 1, bias=False)] if bn_size else []
        last = Conv2d(inner, growth, 3, padding=1, bias=not bn_size)
        new = Sequential(*narrow, BatchNorm2d(inner), ReLU(), last, Dropout(drop))
        found.append(Branches(nn.Identity(), new))
        channels += growth
    return found


def dense_blocks(blocks: tuple[int, ...], bn_size: int, drop: float = 0.0) -> list[nn.Module]:
    layers, channels = [], 64
    for i, count in enumerate(blocks):
        layers += dense_layers(count, channels, 32, bn_size, drop)
        channels += 32 * count
        if i < len(blocks) - 1:
            half = channels // 2
            layers += [BatchNorm2d(channels), ReLU(), Conv2d(channels, half, 1, bias=not bn_size), AvgPool2d(2, 2)]
            channels = half
    return [*layers, BatchNorm2d(channels), ReLU(), AdaptiveAvgPool2d(1), Flatten()]


def textbook_densenet(bn_size: int, drop: float) -> nn.Module:
    stem = [Conv2d(3, 64, 7, 2, 3, bias=False), BatchNorm2d(64), ReLU(), MaxPool2d(3, 2, 1)]
    return Sequential(*stem, *dense_blocks((6, 12, 24, 26), bn_size, drop), Linear(1344, 1000))


def handwritten_densenet() -> nn.Module:
    stem = [Conv2d(1, 64, 7, 2, 3), BatchNorm2d(64), ReLU(), MaxPool2d(3, 2, 1)]
    return Sequential(*stem, *dense_blocks((4, 4, 4, 4), 0), Linear(248, 10))


def residual_cifar() -> nn.Module:
    def block(width: int) -> nn.Module:
        main = [Conv2d(width, width, 3, 1, 1), ReLU(), Conv2d(width, width, 3, 1, 1), ReLU()]
        return Branches(Sequential(*main), nn.Identity(), add=True)

    return Sequential(
        Conv2d(3, 64, 3, 1, 1), ReLU(), MaxPool2d(2, 2), ReLU(), block(64),
        Conv2d(64, 128, 3, 1), ReLU(), block(128), block(128),
        Conv2d(128, 256, 3, 1), ReLU(), block(256), block(256), block(256),
        Conv2d(256, 512, 3, 1), ReLU(), block(512), Flatten(),
        Linear(512 * 10 * 10, 1024), ReLU(), Dropout(0.5), Linear(1024, 512), ReLU(), Dropout(0.5), Linear(512, 10),
    )  # fmt: skip


def lab_network(widths: tuple[int, ...], dilations: tuple[int, ...], last: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels, width, dilation in zip((3, *widths), widths, dilations, strict=False):
        layers += [Conv2d(channels, width, 3, 1, 0, dilation), BatchNorm2d(width), ReLU()]
    return Sequential(*layers, AvgPool2d(last), Flatten(), Linear(widths[-1], 10))
