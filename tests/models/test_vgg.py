from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_cnn.models import get_model


@pytest.mark.parametrize("depth", [7, 9, 11, 13, 16, 19])
@pytest.mark.parametrize("suffix", ["", "_bn"])
def test_the_name_counts_the_layers_with_weights(depth: int, suffix: str) -> None:
    with torch.device("meta"):
        model = get_model(f"vgg{depth}{suffix}")
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == bool(suffix)


def test_hidden_layers_activation_and_dropout_are_arguments() -> None:
    with torch.device("meta"):
        model = get_model("vgg11", num_classes=5, hidden=(4096, 2048), activation="relu6", dropout=0.4)
    assert [m.out_features for m in model.classifier if isinstance(m, nn.Linear)] == [4096, 2048, 5]
    assert [m.p for m in model.classifier if isinstance(m, nn.Dropout)] == [0.4, 0.4]
    assert {type(m) for m in model.modules() if "ReLU" in type(m).__name__} == {nn.ReLU6}


def test_the_cifar_form_has_one_dense_layer_on_512_values() -> None:
    with torch.device("meta"):
        model = get_model("vgg16_cifar", num_classes=10)
    assert [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)] == [(512, 10)]
