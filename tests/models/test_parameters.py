"""Parameter counts against published numbers, torchvision's own, and sums written out here."""

from __future__ import annotations

import pytest
import torch
import torchvision.models
from torch import nn

from lit_cnn.models import MODELS, get_model

# Published: millions, to the digits the source gives.
PUBLISHED = {
    "resnet20": 0.27,  # He et al. 2015, table 6
    "resnet32": 0.46,
    "resnet44": 0.66,
    "resnet56": 0.85,
    "resnet110": 1.7,
    "densenet40_cifar": 1.0,  # Huang et al. 2016, table 2
    "densenet100_cifar": 0.8,
    "speednet": 1.97,  # Jordan 2024, section 3.1
    "alexnet_original": 61.0,  # Caffe's bvlc_alexnet
    "nin": 0.97,
}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def build(name: str, **arguments: object) -> nn.Module:
    row = MODELS[name]
    with torch.device("meta"):
        return get_model(name, num_classes=row.num_classes, in_channels=row.in_channels, **arguments)


@pytest.mark.parametrize("name", list(MODELS))
def test_parameters_equal_the_reference_count(name: str) -> None:
    assert count(build(name)) == MODELS[name].parameters


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_parameters_round_to_the_published_millions(name: str) -> None:
    digits = len(str(PUBLISHED[name]).split(".")[1])
    assert round(count(build(name)) / 1e6, digits) == PUBLISHED[name]


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row.torchvision])
def test_parameters_and_state_dict_keys_equal_torchvisions(name: str) -> None:
    with torch.device("meta"):
        twin = torchvision.models.get_model(MODELS[name].torchvision, weights=None)
    shapes = {key: value.shape for key, value in twin.state_dict().items()}
    assert {key: value.shape for key, value in build(name).state_dict().items()} == shapes
    assert count(twin) == MODELS[name].parameters


def densenet_sum(
    blocks: tuple[int, ...], growth: int, stem: int, kernel: int, classes: int, bottleneck: bool, theta: float
) -> int:
    """Weights of the convolutions, two per channel of every BN, and the dense layer."""
    total = 3 * stem * kernel**2 + (2 * stem if kernel == 7 else 0)
    channels = stem
    for i, layers in enumerate(blocks):
        for _ in range(layers):
            if bottleneck:
                total += 2 * channels + channels * 4 * growth + 2 * 4 * growth + 4 * growth * growth * 9
            else:
                total += 2 * channels + channels * growth * 9
            channels += growth
        if i < len(blocks) - 1:
            total += 2 * channels + channels * int(channels * theta)
            channels = int(channels * theta)
    return total + 2 * channels + (channels + 1) * classes


def test_densenets_without_a_twin_equal_the_sum_over_their_layers() -> None:
    assert MODELS["densenet121"].parameters == densenet_sum((6, 12, 24, 16), 32, 64, 7, 1000, True, 0.5)
    assert MODELS["densenet264"].parameters == densenet_sum((6, 12, 64, 48), 32, 64, 7, 1000, True, 0.5)
    assert MODELS["densenet40_cifar"].parameters == densenet_sum((12, 12, 12), 12, 16, 3, 10, False, 1.0)
    assert MODELS["densenet100_cifar"].parameters == densenet_sum((16, 16, 16), 12, 24, 3, 10, True, 0.5)


def test_googlenet_without_heads_has_caffes_count_and_heads_see_512_and_528_channels() -> None:
    assert count(build("googlenet", aux_heads=False)) == 6_998_552
    model = build("googlenet")
    assert (model.aux1.conv.conv.in_channels, model.aux2.conv.conv.in_channels) == (512, 528)


def test_nin_on_grey_images_has_d2ls_count() -> None:
    with torch.device("meta"):
        assert count(get_model("nin_imagenet", num_classes=10, in_channels=1)) == 1_992_166
