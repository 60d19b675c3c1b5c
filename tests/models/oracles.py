"""Plain networks from the course notes' layer lists, written anew from ``torch.nn``, to compare the package's with.

Each entry names the network as a user does, gives the number of parameters and a plain network whose tensors come in
the same order. ``python -m tests.models.oracles`` prints the table of docs/models.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    ReLU6,
    Sequential,
)

from lit_cnn.models import get_model
from tests.models.helpers import randomise


@dataclass(frozen=True)
class Oracle:
    """A network of the notes.

    Attributes:
        where: in the notes.
        name, arguments: as a user gives them.
        plain: the same network from the layer list.
        parameters: the number printed, or summed over the layer list.
        image: channels, height and width of the notes' images.
        classes: number of logits.
    """

    where: str
    name: str
    plain: Callable[[], nn.Module]
    parameters: int
    image: tuple[int, int, int]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    classes: int = 10


def pair(oracle: Oracle) -> tuple[nn.Module, nn.Module]:
    """The package's network with random weights and statistics, and the plain one that shares its tensors."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = get_model(oracle.name, oracle.classes, oracle.image[0], **oracle.arguments)
        plain = oracle.plain()
    randomise(model)
    values = [v for key, v in model.state_dict().items() if not key.endswith("num_batches_tracked")]
    keys = [key for key in plain.state_dict() if not key.endswith("num_batches_tracked")]
    state = {k: v.reshape(plain.state_dict()[k].shape).clone() for k, v in zip(keys, values, strict=True)}
    counters = {k: torch.zeros((), dtype=torch.long) for k in plain.state_dict() if k not in state}
    plain.load_state_dict(state | counters, assign=True)
    return model, plain


def outputs(oracle: Oracle) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits of both networks, (2, K): in evaluation, and in training with the same draws of dropout."""
    model, plain = pair(oracle)
    x = torch.randn(2, *oracle.image)
    with torch.no_grad():
        for training in (False, True):
            both = []
            for network in (model, plain):
                torch.manual_seed(1)
                both.append(network.train(training)(x.clone()))
            yield both[0], both[1]


def mlp() -> nn.Module:
    return Sequential(Flatten(), Linear(784, 256), ReLU(), Linear(256, 10))


def vgg_maps(stages: list[list[int]], *, norm: bool = False, kernels: tuple[int, ...] = (3, 3, 3)) -> list[nn.Module]:
    """Convolutions of each stage, by their widths, and a 2x2 max-pool after it."""
    layers: list[nn.Module] = []
    channels = 3
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


def vgg_c() -> nn.Module:
    head = [
        Flatten(), Linear(25_088, 4096), ReLU(), Dropout(0.5), Linear(4096, 4096), ReLU(), Dropout(0.5),
        Linear(4096, 1000),
    ]  # fmt: skip
    return Sequential(*vgg_maps(VGG_C, kernels=(3, 3, 1)), *head)


TEXTBOOK_HEAD = {"hidden": (4096, 2048), "dropout": 0.4, "dropout_at": "all", "head_activation": "relu6"}

SCRIPTS_HEAD = {"hidden": (2048, 2048), "dropout_at": "before"}

ORACLES: dict[str, Oracle] = {
    "VGG-13 with BN": Oracle(
        "textbook 5.3.3", "vgg13_bn", textbook_vgg13_bn, 122_615_080, (3, 224, 224), TEXTBOOK_HEAD, 1000
    ),
    "VGG-7": Oracle("textbook 5.3.3", "vgg7", textbook_vgg7, 60_756_362, (3, 64, 64), TEXTBOOK_HEAD),
    "VGG-16": Oracle("scripts", "vgg16", scripts_vgg16, 70_303_557, (3, 224, 224), SCRIPTS_HEAD, 5),
    "VGG level C": Oracle("textbook, figure 5-19", "vgg16_c", vgg_c, 133_638_952, (3, 224, 224), {}, 1000),
    "MLP 784-256-10": Oracle("lab, optional exercise", "mlp", mlp, 203_530, (1, 28, 28)),
}
