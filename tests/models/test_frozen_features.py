from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models import get_model
from lit_cnn.models._freeze import freeze
from lit_cnn.models._frozen_features import FrozenFeatures


class Net(nn.Module):
    """A frozen layer, batch normalization, dropout as asked for, and a head."""

    def __init__(self, dropout=0.0, before="head", scale=1.0, noise=0.0):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.fc = nn.Linear(8, 4)
        self.dropout, self.before, self.scale, self.noise = dropout, before, scale, noise

    def forward(self, x):
        x = self.body(x).mean((2, 3))
        if self.before == "relu":
            x = F.dropout(x, self.dropout, self.training).relu()
        else:
            x = F.dropout(x, self.dropout, training=self.training)
        if self.noise and self.training:
            x = x + self.noise * torch.randn_like(x)
        return self.fc(x) * self.scale


def frozen(model: nn.Module, classes: int = 4) -> nn.Module:
    """The model as a task trains it with ``freeze=backbone``."""
    names = freeze(model, "backbone", classes).modules
    model.train()
    for name in names:
        model.get_submodule(name).eval()
    return model


def same_logits(model: nn.Module, images: torch.Tensor) -> FrozenFeatures:
    split = FrozenFeatures(model, images, 4)
    features = split.features(images)
    for seed in (0, 1):  # of dropout
        torch.manual_seed(seed)
        expected = model(images)
        torch.manual_seed(seed)
        assert torch.equal(split(features), expected)
    return split


@pytest.mark.parametrize(
    ("name", "width"), [("resnet20", 64), ("timm/resnet10t", 512), ("torchvision/mobilenet_v3_small", 1024)]
)
def test_the_head_on_features_gives_the_logits_of_the_network(name, width):
    torch.manual_seed(0)
    model = frozen(get_model(name, num_classes=4))
    assert same_logits(model, torch.randn(2, 3, 32, 32)).width == width


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_dropout_right_before_the_head_is_drawn_anew_at_each_step_and_off_in_evaluation(dropout):
    model, images = frozen(Net(dropout)), torch.randn(6, 3, 8, 8)
    split = same_logits(model, images)
    assert split.dropout == dropout
    features = split.features(images)
    assert torch.equal(split(features), split(features)) == (dropout == 0)
    model.eval()
    assert torch.equal(split(features), model(images))


def test_looking_at_a_network_changes_neither_its_modes_nor_its_statistics_nor_random_numbers():
    model = frozen(Net(0.5))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes, images = [module.training for module in model.modules()], torch.randn(2, 3, 8, 8)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    FrozenFeatures(model, images, 4)
    assert torch.equal(torch.rand(1), expected)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: Net(scale=2.0), "Net changes the outputs of its head"),
        (lambda: Net(noise=1.0), "other features in training than in evaluation"),
        (lambda: Net(0.5, before="relu"), "other features in training than in evaluation"),
        (lambda: get_model("nin", num_classes=4), "numbers of an image, not a vector of features"),
        (lambda: get_model("googlenet", num_classes=4), r"only the head \(fc\) may train, but aux1\S* does too"),
    ],
)
def test_what_is_no_function_of_a_vector_of_features_is_refused(model, reason):
    torch.manual_seed(0)
    with pytest.raises(UserError, match=reason):
        FrozenFeatures(frozen(model()), torch.randn(2, 3, 64, 64), 4)


def test_a_network_that_trains_other_layers_too_is_refused():
    with pytest.raises(UserError, match=r"only the head \(fc\) may train, but conv1 does too"):
        FrozenFeatures(get_model("resnet20", num_classes=4), torch.randn(2, 3, 32, 32), 4)
