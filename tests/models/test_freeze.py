from __future__ import annotations

import pytest
import torch
import torchvision.models
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models import MODELS, find_head, freeze, get_model

from .helpers import small


def trainable(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


@pytest.mark.parametrize("name", list(MODELS))
def test_the_head_of_every_model_is_a_layer_with_k_outputs(name: str) -> None:
    with torch.device("meta"):
        model = get_model(name, num_classes=13)
    head = find_head(model, 13)
    assert (getattr(model.get_submodule(head), "out_features", None) or model.get_submodule(head).out_channels) == 13
    assert head.split(".")[0] in ("fc", "classifier")


def test_a_network_without_head_says_so() -> None:
    with pytest.raises(UserError, match="ResNet has no layer with 5 outputs"):
        find_head(get_model("resnet20", include_top=False), 5)


def test_backbone_freezes_everything_but_the_heads() -> None:
    model, _ = small("googlenet_bn")
    frozen = freeze(model, "backbone", num_classes=7)
    assert {name.split(".")[0] for name in trainable(model)} == {"aux1", "aux2", "fc"}
    assert model.inception5b in frozen


def test_a_number_freezes_that_many_children_from_the_front() -> None:
    model, _ = small("resnet20")
    frozen = freeze(model, "3")
    assert frozen == [model.conv1, model.bn1, model.relu]
    assert not {"conv1.weight", "bn1.weight", "bn1.bias"} & set(trainable(model))
    assert "layer1.0.conv1.weight" in trainable(model)
    assert freeze(model, 0) == []


def test_frozen_modules_held_in_eval_mode_stay_bit_equal_through_training_and_the_head_learns() -> None:
    model, x = small("resnet20")
    frozen = freeze(model, "backbone", num_classes=7)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for module in frozen:
        module.eval()
    model(x).square().sum().backward()
    optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"fc.weight", "fc.bias"}


def test_no_frozen_module_contains_a_layer_that_trains() -> None:
    for name in ("vgg7_cifar", "nin", "densenet_small", "alexnet_half"):
        with torch.device("meta"):
            model = get_model(name, num_classes=7)
        for module in freeze(model, "backbone", num_classes=7):
            assert not trainable(module)


def test_parameters_beside_the_layers_are_frozen_too() -> None:
    with torch.device("meta"):
        model = torchvision.models.vit_b_32(weights=None, num_classes=7)
    freeze(model, "backbone", num_classes=7)
    assert trainable(model) == ["heads.head.weight", "heads.head.bias"]


@pytest.mark.parametrize("what", ["all", 99, -1, True])
def test_other_words_and_numbers_are_refused(what: str | int) -> None:
    with pytest.raises(UserError, match="freeze"):
        freeze(small("resnet20")[0], what)
