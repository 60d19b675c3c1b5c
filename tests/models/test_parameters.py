"""Parameter counts against published numbers, torchvision's own, and the sums of ``parameter_sums.py``."""

from __future__ import annotations

import pytest
import torch
import torchvision.models
from torch import nn

from lit_cnn.models import MODELS, get_model

from . import parameter_sums

# Published exactly.
EXACT = {
    "mnist_cnn": 93_322,  # TensorFlow's tutorial, model.summary()
    "vgg16_cifar": 14_728_266,  # github.com/kuangliu/pytorch-cifar
    "alexnet_original": 60_965_224,  # Caffe model zoo, bvlc_alexnet
    "googlenet": 13_378_280,  # Caffe model zoo, bvlc_googlenet with both heads
}
# Published in millions, to the digits the source gives.
MILLIONS = {
    "resnet20": 0.27,  # He et al. 2015, table 6
    "resnet32": 0.46,
    "resnet44": 0.66,
    "resnet56": 0.85,
    "resnet110": 1.7,
    "densenet40_cifar": 1.0,  # Huang et al. 2016, table 2
    "densenet100_cifar": 0.8,
    "speednet": 1.97,  # Jordan 2024, section 3.1
}
# Rows whose reference is torchvision's network of this name: what moves a stride keeps the parameters.
TORCHVISION = {name: row.torchvision for name, row in MODELS.items() if row.torchvision}
TORCHVISION |= {f"resnet{depth}_v1": f"resnet{depth}" for depth in (50, 101, 152)}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def build(name: str, **arguments: object) -> nn.Module:
    row = MODELS[name]
    with torch.device("meta"):
        return get_model(name, num_classes=row.num_classes, in_channels=row.in_channels, **arguments)


def torchvisions(name: str) -> nn.Module:
    with torch.device("meta"):
        return torchvision.models.get_model(TORCHVISION[name], weights=None)


def reference(name: str) -> int:
    return parameter_sums.SUMS[name] if name in parameter_sums.SUMS else count(torchvisions(name))


@pytest.mark.parametrize("name", list(MODELS))
def test_parameters_equal_the_sum_over_the_layers_or_torchvisions(name: str) -> None:
    assert count(build(name)) == reference(name)
    assert MODELS[name].parameters == reference(name)


@pytest.mark.parametrize("name", list(EXACT))
def test_parameters_equal_the_published_count(name: str) -> None:
    assert reference(name) == EXACT[name]


@pytest.mark.parametrize("name", list(MILLIONS))
def test_parameters_round_to_the_published_millions(name: str) -> None:
    digits = len(str(MILLIONS[name]).split(".")[1])
    assert round(reference(name) / 1e6, digits) == MILLIONS[name]


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row.torchvision])
def test_state_dict_keys_and_shapes_equal_torchvisions(name: str) -> None:
    shapes = {key: value.shape for key, value in torchvisions(name).state_dict().items()}
    assert {key: value.shape for key, value in build(name).state_dict().items()} == shapes


def test_hand_computed_sums_agree_with_torchvision_where_both_exist() -> None:
    stem, projection = parameter_sums.conv_bn(3, 64, 7), parameter_sums.conv_bn
    assert parameter_sums.densenet((6, 12, 24, 16), 32, 64, 1000, bottleneck=True, keep=0.5) + stem == count(
        torchvisions("densenet121")
    )
    assert parameter_sums.vgg_convolutions(parameter_sums.VGG_STAGES["16"]) + parameter_sums.VGG_DENSE == count(
        torchvisions("vgg16")
    )
    # The shortcuts that change shape: 1x1 convolutions and BN.
    basic = projection(64, 128, 1) + projection(128, 256, 1) + projection(256, 512, 1)
    assert parameter_sums.SUMS["plain34"] + basic == count(torchvisions("resnet34"))
    wide = projection(64, 256, 1) + projection(256, 512, 1) + projection(512, 1024, 1) + projection(1024, 2048, 1)
    assert parameter_sums.SUMS["plain101"] + wide == count(torchvisions("resnet101"))


def test_googlenet_without_heads_has_caffes_count_and_heads_see_512_and_528_channels() -> None:
    assert count(build("googlenet", aux_heads=False)) == parameter_sums.googlenet(3, 1000) == 6_998_552
    model = build("googlenet")
    assert (model.aux1.conv.conv.in_channels, model.aux2.conv.conv.in_channels) == (512, 528)


def test_nin_on_grey_images_and_ten_classes_equals_its_sum() -> None:
    grey = (
        parameter_sums.mlpconv(1, (96, 96, 96), 11)
        + parameter_sums.mlpconv(96, (256, 256, 256), 5)
        + parameter_sums.mlpconv(256, (384, 384, 384), 3)
        + parameter_sums.mlpconv(384, (10, 10, 10), 3)
    )
    with torch.device("meta"):
        assert count(get_model("nin_imagenet", num_classes=10, in_channels=1)) == grey
