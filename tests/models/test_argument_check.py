from __future__ import annotations

import math

import pytest
import torch

from lit_cnn.errors import UserError
from lit_cnn.models import MODELS, get_model, model_arguments
from lit_cnn.models.resnet import BasicBlock, ResNet
from lit_cnn.models.toynets import ConvNet
from lit_cnn.models.vgg import VGG
from tests.models.helpers import SMALL

ARGUMENTS = [
    (name, argument) for name in dict.fromkeys(key.split()[0] for key in SMALL) for argument in model_arguments(name)
]


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_no_argument_of_any_model_takes_what_makes_no_sense(name: str, argument: str) -> None:
    info = MODELS[name]
    classes = info.in_channels if info.task == "restoration" else 2
    for value in ("nonsense", -1, math.nan, {"a": 1}, [-1], [[1]]):
        with torch.device("meta"), pytest.raises(UserError) as error:
            get_model(name, num_classes=classes, in_channels=info.in_channels, **{argument: value})
        line = str(error.value)
        assert line.startswith(f"{name}: {argument} must "), line
        assert line.endswith(f", got {value!r}")
        assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("lenet", {"channels": 6}, "channels must be a list of 2 whole numbers from 1 up, got 6"),
        ("lenet", {"channels": [6, 0]}, r"channels must be a list of 2 whole numbers from 1 up, got \[6, 0\]"),
        ("lenet", {"image_size": "big"}, "image_size must be a whole number from 1 up, got 'big'"),
        ("lenet", {"image_size": 28.0}, "image_size must be a whole number from 1 up, got 28.0"),
        ("lenet", {"image_size": 8}, "image_size 8 is too small, the smallest is 12"),
        ("lenet", {"pool": ["max"]}, r"pool must be avg or max, got \['max'\]"),
        ("lenet", {"pool": "max", "activation": "swish"}, "activation must be one of relu"),
        ("lenet", {"activation": ["relu"]}, "activation must be one of relu"),
        ("mnist_cnn", {"image_size": True}, "image_size must be a whole number from 1 up, got True"),
        ("mnist_cnn", {"image_size": 17}, "image_size 17 is too small, the smallest is 18"),
        ("alexnet", {"hidden": None}, "hidden must be a whole number from 1 up, got None"),
        ("alexnet", {"pool_to": 0}, "pool_to must be a whole number from 1 up, got 0"),
        ("alexnet", {"groups": 3}, r"groups must divide every one of the channels \(64, 192, 384, 256, 256\), got 3"),
        ("alexnet", {"lrn": "no"}, "lrn must be true or false, got 'no'"),
        ("vgg11", {"hidden": None}, "hidden must be a list of whole numbers from 1 up, maybe empty, got None"),
        ("vgg11", {"hidden": "4096"}, "hidden must be a list of whole numbers"),
        ("vgg11", {"dropout": 1}, "dropout must be a number from 0 to below 1, got 1"),
        ("vgg11", {"dropout": True}, "dropout must be a number from 0 to below 1, got True"),
        ("nin", {"form": "mnist"}, "form must be cifar or imagenet, got 'mnist'"),
        ("nin", {"init": "he"}, "init must be one of torch, kaiming"),
        ("googlenet", {"pool": "pad", "aux_dropout": "much"}, "aux_dropout must be a number from 0 to below 1"),
        ("resnet18", {"stem": "cyfar"}, "stem must be imagenet or cifar, got 'cyfar'"),
        ("resnet18", {"shortcut": "C"}, "shortcut must be A or B or conv, got 'C'"),
        ("resnet50", {"bottleneck": 1.5}, "bottleneck must be v1 or v1.5, got 1.5"),
        ("resnet18", {"widths": [64, 128]}, "widths must be a list of 4 whole numbers"),
        ("resnet18", {"widths": [64] * 5}, "widths must be a list of 4 whole numbers"),
        ("resnet20", {"widths": [64, 32, 16]}, "widths must not fall, got 32 after 64: shortcut A adds channels"),
        ("densenet121", {"growth_rate": 0}, "growth_rate must be a whole number from 1 up, got 0"),
        ("densenet121", {"compression": 0}, "compression must be a number over 0 and at most 1, got 0"),
        ("densenet121", {"compression": 1e-4}, "compression must keep at least one of 256 channels, got 0.0001"),
        ("residual_cifar_bn", {"blocks": []}, r"blocks must be a list of 1 to 4 whole numbers from 1 up, got \[\]"),
        ("residual_cifar_bn", {"blocks": [1] * 5}, "blocks must be a list of 1 to 4 whole numbers"),
        ("convnet_pooled", {"widths": []}, r"widths must be a list of whole numbers from 1 up, got \[\]"),
        (
            "convnet_pooled",
            {"dilations": [1, 2]},
            r"dilations must be a list of 3 whole numbers from 1 up, got \[1, 2\]",
        ),
        (
            "convnet_pooled",
            {"dilations": [1, 2, 0]},
            r"dilations must be a list of 3 whole numbers from 1 up, got \[1, 2, 0\]",
        ),
        ("convnet_pooled", {"dilations": 0}, "dilations must be a list of 3 whole numbers from 1 up, got 0"),
        ("residual_deep", {"widths": [8, 4]}, "widths must not fall, got 4 after 8"),
        ("speednet", {"bn_momentum": 0}, "bn_momentum must be a number over 0 and at most 1, got 0"),
        ("speednet", {"scale": math.inf}, "scale must be a number over 0, got inf"),
    ],
)
def test_a_refused_value_names_model_argument_and_what_is_accepted_in_one_line(
    name: str, arguments: dict, message: str
) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=f"^{name}: {message}") as error:
        get_model(name, num_classes=2, **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "arguments", "idle", "reason"),
    [
        ("alexnet", {"image_size": 10}, "image_size", "with pool_to=6 it takes any size"),
        ("alexnet_half", {"image_size": 64, "pool_to": 1}, "image_size", "with pool_to=1 it takes any size"),
        ("resnet18", {"bottleneck": "v1"}, "bottleneck", "its blocks are of two 3x3 convolutions"),
        ("plain50", {"shortcut": "A"}, "shortcut", "a plain network has none"),
        ("resnet20", {"residual": False, "shortcut": "B"}, "shortcut", "a plain network has none"),
        ("googlenet_d2l", {"aux_dropout": 0.1}, "aux_dropout", "it has no auxiliary heads"),
        ("googlenet", {"aux_heads": False, "aux_dropout": 0.1}, "aux_dropout", "it has no auxiliary heads"),
        ("vgg9_cifar", {"dropout": 0.1}, "dropout", "it has no hidden dense layers"),
        ("residual_cifar_bn", {"dropout": 0.1, "hidden": []}, "dropout", "it has no hidden dense layers"),
    ],
)
def test_an_argument_that_would_do_nothing_is_refused_with_the_reason(
    name: str, arguments: dict, idle: str, reason: str
) -> None:
    with torch.device("meta"), pytest.raises(UserError) as error:
        get_model(name, **arguments)
    assert str(error.value) == f"{name}: {idle} must not be given: {reason}, got {arguments[idle]!r}"


def test_arguments_that_do_something_or_are_not_given_are_not_refused() -> None:
    with torch.device("meta"):
        assert get_model("alexnet", pool_to=None, image_size=67).classifier[1].in_features == 256
        assert get_model("alexnet_half", image_size=64).classifier[1].in_features == 128
        assert get_model("resnet20", residual=False).layer2[0].downsample is None
        assert get_model("resnet50", bottleneck="v1").layer2[0].conv1.stride == (2, 2)
        assert get_model("googlenet", aux_heads=False).fc.out_features == 1000
        assert get_model("vgg9_cifar", hidden=[8], dropout=0.1).classifier[2].p == 0.1


@pytest.mark.parametrize("name", ["lenet", "torchvision/resnet18"])
@pytest.mark.parametrize("argument", ["num_classes", "in_channels"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "10", None])
def test_numbers_of_classes_and_channels_must_be_positive_integers(name: str, argument: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{name}: {argument} must be a whole number from 1 up, got {value!r}"):
        get_model(name, **{argument: value})


@pytest.mark.parametrize("name", list(dict.fromkeys(key.split()[0] for key in SMALL)))
def test_constructors_themselves_refuse_zero_classes_and_channels(name: str) -> None:
    for argument in ("num_classes", "in_channels"):
        with torch.device("meta"), pytest.raises(ValueError, match=f"{argument} must be a whole number from 1 up"):
            MODELS[name].factory(**{argument: 0})


def test_architectures_given_as_arguments_are_checked_too() -> None:
    with pytest.raises(ValueError, match=r"layers must be a list of whole numbers from 1 up, got \[2, 0\]"):
        ResNet(BasicBlock, [2, 0], widths=(8, 16))
    with pytest.raises(ValueError, match="stages must be a list of 1 to 5 whole numbers from 1 up"):
        VGG((1,) * 6)


def test_values_at_the_ends_of_what_is_accepted_build() -> None:
    with torch.device("meta"):
        get_model("densenet121", compression=1 / 256)
        get_model("densenet121", compression=1, dropout=0, growth_rate=1)
        get_model("vgg11", hidden=[], pool_to=1)
        get_model("vgg11", dropout=0.999)
        get_model("residual_cifar_bn", blocks=[1], hidden=())
        get_model("lenet", padding=0, image_size=16)
        get_model("speednet", bn_momentum=1)
        ConvNet(num_classes=1, in_channels=1, widths=[1], dilations=[1])
        assert get_model("plain20", widths=(4, 4, 2)).fc.in_features == 2  # no shortcut, nothing to pad
