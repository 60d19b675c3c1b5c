from __future__ import annotations

import pytest
import torch
import torchvision.models
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models import MODELS, find_head, freeze, get_model
from lit_cnn.models._freeze import all_heads

from .helpers import small


def trainable(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def frozen_layers(name: str, what: str | int, num_classes: int = 7, **arguments: object) -> list[str]:
    """Names of the layers whose parameters ``freeze`` stopped, in order."""
    with torch.device("meta"):
        model = get_model(name, num_classes=num_classes, **arguments)
    before = trainable(model)
    freeze(model, what, num_classes)
    stopped = [key for key in before if key not in trainable(model)]
    return list(dict.fromkeys(key.rpartition(".")[0] for key in stopped))


@pytest.mark.parametrize("name", [name for name, info in MODELS.items() if info.task != "restoration"])
def test_the_head_of_every_classifier_is_a_layer_with_k_outputs(name: str) -> None:
    with torch.device("meta"):
        model = get_model(name, num_classes=13)
    head = find_head(model, 13)
    assert (getattr(model.get_submodule(head), "out_features", None) or model.get_submodule(head).out_channels) == 13
    assert head.split(".")[0] in ("fc", "classifier")


def test_a_network_without_head_says_so() -> None:
    with torch.device("meta"):
        model = get_model("resnet50", include_top=False)
    # 2048 is also the width of its last layer, a 1x1 convolution
    for num_classes in (5, 2048, None):
        with pytest.raises(UserError, match=r"ResNet has no .* at its end to be its head"):
            find_head(model, num_classes)
    assert all_heads(model, 2048) == []


@pytest.mark.parametrize(
    ("name", "num_classes", "heads"),
    [
        # as many classes as filters in the layers before, so that widths do not identify the head
        ("nin", 192, ["classifier.4"]),
        ("nin_imagenet", 7, ["classifier.0", "classifier.2", "classifier.4"]),
        ("nin_imagenet", 384, ["classifier.0", "classifier.2", "classifier.4"]),
        ("vgg7", 4096, ["classifier.6"]),
        ("googlenet", 1024, ["fc", "aux1", "aux2"]),
        ("torchvision/squeezenet1_1", 512, ["classifier.1"]),
        ("torchvision/inception_v3", 7, ["fc", "AuxLogits"]),
        ("timm/deit_tiny_distilled_patch16_224", 192, ["head", "head_dist"]),
    ],
)
def test_heads_are_those_that_depend_on_the_number_of_classes(name: str, num_classes: int, heads: list[str]) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    models = []
    for k in (num_classes, num_classes + 1):
        with torch.device("meta"):
            models.append(get_model(name, num_classes=k))
    assert all_heads(models[0], num_classes) == heads
    shapes = [{key: tensor.shape for key, tensor in model.state_dict().items()} for model in models]
    depend = [key for key, shape in shapes[0].items() if shapes[1][key] != shape]
    assert all(key.startswith(tuple(f"{head}." for head in heads)) for key in depend)
    assert all(any(key.startswith(f"{head}.") for key in depend) for head in heads)


def test_backbone_freezes_everything_but_the_heads() -> None:
    model, _ = small("googlenet_bn")
    frozen = freeze(model, "backbone", num_classes=7)
    assert {name.split(".")[0] for name in trainable(model)} == {"aux1", "aux2", "fc"}
    assert "inception5b" in frozen.modules
    rest = {key for key in model.state_dict() if key.split(".")[0] not in ("aux1", "aux2", "fc")}
    assert frozen.tensors == rest


@pytest.mark.parametrize(
    ("name", "count", "layers"),
    [
        ("resnet18", 2, ["conv1", "bn1"]),
        ("vgg9", 2, ["features.0", "features.3"]),
        ("lenet", 3, ["features.0", "features.3", "classifier.0"]),
        ("vgg7_cifar", 2, ["features.0", "features.1"]),
        ("nin", 2, ["features.0", "features.2"]),
        ("alexnet", 1, ["features.0"]),
        ("googlenet", 3, ["conv1.conv", "conv2.conv", "conv3.conv"]),
        ("speednet", 1, ["whiten"]),
        ("torchvision/alexnet", 2, ["features.0", "features.3"]),
        ("torchvision/mobilenet_v2", 1, ["features.0.0", "features.0.1"]),
        ("timm/resnet18", 2, ["conv1", "bn1"]),
        ("timm/vgg11", 2, ["features.0", "features.3"]),
    ],
)
def test_a_number_freezes_that_many_blocks_with_parameters_from_the_front(
    name: str, count: int, layers: list[str]
) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    assert frozen_layers(name, count) == layers
    assert frozen_layers(name, str(count)) == layers


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet20", "conv1, bn1, layer1, layer2, layer3"),
        ("nin", "features.0, features.2, features.4, features.8, features.10, features.12, classifier.0, classifier.2"),
        ("residual_cifar_bn", "stem, stages.0, stages.1, stages.2, stages.3, classifier.0, classifier.3"),
        ("speednet", "whiten, blocks.0, blocks.1, blocks.2"),
        ("torchvision/efficientnet_b0", ", ".join(f"features.{i}" for i in range(9))),
        ("timm/convnext_atto", "stem, stages.0, stages.1, stages.2, stages.3, head.norm"),
    ],
)
def test_more_blocks_than_there_are_get_one_line_with_all_of_them_and_as_many_freeze_all_but_the_head(
    name: str, blocks: str
) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    count = len(blocks.split(", "))
    with pytest.raises(UserError) as error:
        frozen_layers(name, count + 1)
    assert f"{count + 1} is more than the {count} blocks of " in str(error.value)
    assert str(error.value).endswith(f": {blocks}")
    assert frozen_layers(name, count) == frozen_layers(name, "backbone")


def test_no_blocks_freeze_nothing_and_one_freezes_what_lies_beside_the_blocks() -> None:
    with torch.device("meta"):
        model = torchvision.models.vit_b_32(weights=None, num_classes=7)
    assert freeze(model, 0) == ([], set())
    assert "class_token" in trainable(model)
    # the embeddings come before the first layer of the encoder
    assert {"class_token", "encoder.pos_embedding", "conv_proj.weight"} <= freeze(model, 1).tensors
    assert "class_token" not in trainable(model)
    assert "encoder.layers.encoder_layer_0.ln_1.weight" in trainable(model)


def test_dropout_between_frozen_blocks_is_held_off_and_behind_them_is_not() -> None:
    model, _ = small("nin")
    modules = freeze(model, 3).modules
    assert "features.7" in modules
    assert "features.15" not in modules


def test_frozen_modules_held_in_eval_mode_stay_bit_equal_through_training_and_the_head_learns() -> None:
    model, x = small("resnet20")
    frozen = freeze(model, "backbone", num_classes=7).modules
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for name in frozen:
        model.get_submodule(name).eval()
    model(x).square().sum().backward()
    optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"fc.weight", "fc.bias"}


def test_no_frozen_module_contains_a_layer_that_trains() -> None:
    for name in ("vgg7_cifar", "nin", "densenet_small", "alexnet_half"):
        with torch.device("meta"):
            model = get_model(name, num_classes=7)
        for part in freeze(model, "backbone", num_classes=7).modules:
            assert not trainable(model.get_submodule(part))


def test_parameters_beside_the_layers_are_frozen_too() -> None:
    with torch.device("meta"):
        model = torchvision.models.vit_b_32(weights=None, num_classes=7)
    freeze(model, "backbone", num_classes=7)
    assert trainable(model) == ["heads.head.weight", "heads.head.bias"]


@pytest.mark.parametrize("what", ["all", 99, -1, True])
def test_other_words_and_numbers_are_refused(what: str | int) -> None:
    with pytest.raises(UserError, match="freeze"):
        freeze(small("resnet20")[0], what)
