"""Plain networks from the course notes' layer lists, written anew to compare the package's with.

Each entry names the network as a user does, gives the number of parameters and a plain network whose tensors come in
the same order. ``python -m tests.models.oracles`` prints the table of docs/models.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lit_cnn.models import get_model
from tests.models import plain_networks as plain
from tests.models import plain_residual_networks as residual
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
        by_hand = oracle.plain()
    randomise(model)
    values = [v for key, v in model.state_dict().items() if not key.endswith("num_batches_tracked")]
    keys = [key for key in by_hand.state_dict() if not key.endswith("num_batches_tracked")]
    state = {k: v.reshape(by_hand.state_dict()[k].shape).clone() for k, v in zip(keys, values, strict=True)}
    counters = {k: torch.zeros((), dtype=torch.long) for k in by_hand.state_dict() if k not in state}
    by_hand.load_state_dict(state | counters, assign=True)
    return model, by_hand


def outputs(oracle: Oracle) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits of both networks, (2, K), auxiliary ones beside them.

    First in evaluation, then in training with the same draws of dropout.
    """
    model, by_hand = pair(oracle)
    x = torch.randn(2, *oracle.image)
    with torch.no_grad():
        for training in (False, True):
            both = []
            for network in (model, by_hand):
                torch.manual_seed(1)
                out = network.train(training)(x.clone())
                both.append(torch.cat(out, 1) if isinstance(out, tuple) else out)  # auxiliary logits as well
            yield both[0], both[1]


TEXTBOOK_HEAD = {"hidden": (4096, 2048), "dropout": 0.4, "dropout_at": "all", "head_activation": "relu6"}

SCRIPTS_HEAD = {"hidden": (2048, 2048), "dropout_at": "before"}


def lenet(where: str, name: str, count: int, image: tuple[int, int, int], *shape: Any, **arguments: Any) -> Oracle:
    """A LeNet; ``shape``: widths, pooling, activation, padding and values for the dense layers."""
    widths, pool, act, padding, flat = shape
    build = partial(plain.lenet, image[0], *widths, pool=pool, act=act, padding=padding, flat=flat)
    return Oracle(where, name, build, count, image, arguments)


_lenet_maps = nn.AvgPool2d, nn.Sigmoid
ORACLES: dict[str, Oracle] = {
    "MLP 784-256-10": Oracle("lab, exercise", "mlp", plain.mlp, 203_530, (1, 28, 28)),
    "LeNet": lenet("blog 4", "lenet", 61_706, (1, 28, 28), (6, 16), *_lenet_maps, 2, 400),
    "LeNet-5": lenet("textbook 5.3.1", "lenet5", 61_706, (1, 32, 32), (6, 16), *_lenet_maps, 0, 400),
    "LeNet, max-pooling": lenet(
        "handwritten", "lenet", 44_426, (1, 28, 28), (6, 16), nn.MaxPool2d, nn.Sigmoid, 0, 256, pool="max", padding=0
    ),
    "LeNet, colour": lenet(
        "scripts", "lenet_color", 121_182, (3, 32, 32), (16, 32), nn.MaxPool2d, nn.ReLU, 0, 800
    ),
    "MNIST CNN": Oracle("textbook, example 5-1", "mnist_cnn", plain.keras_cnn, 93_322, (1, 28, 28)),
    "AlexNet": Oracle(
        "textbook 5.3.2", "alexnet_grey", plain.textbook_alexnet, 50_820_776, (1, 224, 224), {"padding": 0}, 1000
    ),
    "AlexNet, LRN after pooling": Oracle(
        "textbook 5.3.2, description", "alexnet_original", plain.described_alexnet, 60_965_224, (3, 227, 227),
        {"lrn_after_pool": True}, 1000,
    ),
    "AlexNet, padded pools": Oracle(
        "handwritten", "alexnet_notes", plain.handwritten_alexnet, 46_027_338, (1, 512, 512)
    ),
    "AlexNet, half width": Oracle("scripts", "alexnet_half", plain.scripts_alexnet, 14_591_685, (3, 224, 224), {}, 5),
    "VGG-7": Oracle("textbook 5.3.3", "vgg7", plain.textbook_vgg7, 60_756_362, (3, 64, 64), TEXTBOOK_HEAD),
    "VGG-11": Oracle("handwritten", "vgg11", plain.handwritten_vgg11, 128_806_154, (1, 224, 224)),
    "VGG-13 with BN": Oracle(
        "textbook 5.3.3", "vgg13_bn", plain.textbook_vgg13_bn, 122_615_080, (3, 224, 224), TEXTBOOK_HEAD, 1000
    ),
    "VGG-16": Oracle("scripts", "vgg16", plain.scripts_vgg16, 70_303_557, (3, 224, 224), SCRIPTS_HEAD, 5),
    "VGG level C": Oracle("textbook, figure 5-19", "vgg16_c", plain.vgg_c, 133_638_952, (3, 224, 224), {}, 1000),
    "NiN, whole maps dropped": Oracle(
        "textbook 5.3.4, first", "nin", partial(plain.textbook_nin, nn.Dropout2d, nn.AvgPool2d(8, 1)), 966_986,
        (3, 32, 32), {"pool": "max", "dropout2d": True},
    ),
    "NiN": Oracle(
        "textbook 5.3.4, second", "nin", partial(plain.textbook_nin, nn.Dropout, nn.AdaptiveAvgPool2d(1)), 966_986,
        (3, 32, 32), {"pool": "max"},
    ),
    "NiN, AlexNet's sizes": Oracle(
        "handwritten", "nin_imagenet", plain.handwritten_nin, 1_992_166, (1, 224, 224), {"final_relu": True}
    ),
    "GoogLeNet, auxiliary heads": Oracle(
        "scripts", "googlenet", plain.ScriptsGoogLeNet, 10_318_655, (3, 224, 224), {}, 5
    ),
    "GoogLeNet, block 2 without ReLU": Oracle(
        "handwritten", "googlenet_d2l", plain.handwritten_googlenet, 5_977_530, (1, 96, 96), {"stem_relu": False}
    ),
    "ResNet-18, shortcuts without BN": Oracle(
        "handwritten", "resnet18_d2l", residual.handwritten_resnet18, 11_178_378, (1, 96, 96)
    ),
    "ResNet-18, 3x3 stem": Oracle(
        "lab", "resnet18", residual.lab_resnet18, 11_173_962, (3, 32, 32), {"stem": "cifar"}
    ),
    "DenseNet, blocks 6-12-24-26": Oracle(
        "textbook 5.3.7", "densenet141", partial(plain.textbook_densenet, 4, 0.0), 10_189_096, (3, 224, 224), {}, 1000
    ),
    "DenseNet, bn_size 2, drop rate 0.1": Oracle(
        "textbook 5.3.7", "densenet141", partial(plain.textbook_densenet, 2, 0.1), 6_162_216, (3, 64, 64),
        {"bn_size": 2, "dropout": 0.1}, 1000,
    ),
    "DenseNet, blocks 4-4-4-4": Oracle(
        "handwritten", "densenet_small", plain.handwritten_densenet, 758_226, (1, 96, 96), {"bias": True}
    ),
    "ConvNet": Oracle(
        "lab", "convnet", partial(plain.lab_network, (32, 64, 128), (1, 1, 1), 26), 94_986, (3, 32, 32)
    ),
    "ConvNet, dilations 1-2-5": Oracle(
        "lab", "dilated_convnet", partial(plain.lab_network, (32, 64, 128), (1, 2, 5), 16), 94_986, (3, 32, 32)
    ),
    "ConvNet, convolution by hand": Oracle(
        "lab", "myconvnet", partial(plain.lab_network, (32,), (1,), 30), 1_290, (3, 32, 32)
    ),
    "Residual network for CIFAR-10": Oracle(
        "textbook 5.4", "residual_cifar", plain.residual_cifar, 63_435_018, (3, 32, 32)
    ),
}  # fmt: skip


def row(key: str, difference: str) -> str:
    """A line of the table of docs/models.md."""
    oracle = ORACLES[key]
    arguments = ", ".join(f"{name}: {value}" for name, value in oracle.arguments.items())
    arguments = arguments.replace("(", "[").replace(")", "]").replace("True", "true").replace("False", "false")
    called = f"`{oracle.name}`" + (f", `{arguments}`" if arguments else "")
    image = "x".join(str(n) for n in oracle.image)
    return f"| {key} | {oracle.where} | {called} | {image} | {oracle.parameters:,} | {difference} |"


def main() -> None:
    """Print the table."""
    for key, oracle in ORACLES.items():
        worst = max(float((mine - by_hand).abs().max()) for mine, by_hand in outputs(oracle))
        print(row(key, f"{worst:.0e}" if worst else "0"), flush=True)


if __name__ == "__main__":
    main()
