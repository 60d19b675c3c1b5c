from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_cnn.models import MODELS, get_model, model_arguments
from lit_cnn.nn.init import SCHEMES, init_weights
from lit_cnn.nn.reference.conv import HandConv2d


def drawn(scheme: str, conv: type[nn.Conv2d] = nn.Conv2d) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(conv(40, 160, 3), nn.BatchNorm2d(160), nn.Linear(300, 500))
    init_weights(net, scheme)
    return net


@pytest.mark.parametrize(
    ("scheme", "conv", "dense"),
    [
        ("kaiming", (2 / (160 * 9)) ** 0.5, 0.01),
        ("xavier", (2 / ((40 + 160) * 9)) ** 0.5, (2 / 800) ** 0.5),
        ("normal", 0.01, 0.01),
        ("torch", (1 / (3 * 40 * 9)) ** 0.5, (1 / (3 * 300)) ** 0.5),
    ],
)
def test_spread_of_the_weights_is_that_of_the_scheme(scheme: str, conv: float, dense: float) -> None:
    net = drawn(scheme)
    for layer, spread in ((net[0], conv), (net[2], dense)):
        assert layer.weight.std().item() == pytest.approx(spread, rel=0.02)
        assert abs(layer.weight.mean().item()) < 0.02 * spread
        assert (layer.bias.abs().max() == 0) == (scheme != "torch")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_hand_written_convolutions_get_the_same_weights_as_torchs(scheme: str) -> None:
    torch.testing.assert_close(drawn(scheme, HandConv2d).state_dict(), drawn(scheme).state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("scheme", ["kaiming", "normal"])
def test_normal_schemes_draw_from_a_normal_distribution_and_xavier_from_a_uniform_one(scheme: str) -> None:
    weight = drawn(scheme)[0].weight.detach()
    beyond = (weight.abs() > 2 * weight.std()).float().mean().item()
    assert beyond == pytest.approx(0.0455, abs=0.003)
    uniform = drawn("xavier")[0].weight.detach()
    assert uniform.abs().max().item() == pytest.approx(3**0.5 * uniform.std().item(), rel=0.01)


def test_norm_layers_are_left_alone_and_other_names_refused() -> None:
    assert (drawn("normal")[1].weight == 1).all()
    with pytest.raises(ValueError, match="init must be one of torch, kaiming, xavier, normal, got 'he'"):
        init_weights(nn.Linear(1, 1), "he")


@pytest.mark.parametrize(
    "name", ["lenet", "mnist_cnn", "nin", "vgg7_cifar", "resnet20", "densenet_small", "convnet_pooled"]
)
def test_networks_take_the_scheme_as_an_argument(name: str) -> None:
    for scheme in SCHEMES[1:]:
        torch.manual_seed(0)
        model = get_model(name, num_classes=10, init=scheme)
        layer = [m for m in model.modules() if isinstance(m, nn.Conv2d)][1]
        fan_in, fan_out = layer.weight[0].numel(), layer.weight.shape[0] * layer.weight[0, 0].numel()
        spread = {"kaiming": (2 / fan_out) ** 0.5, "xavier": (2 / (fan_in + fan_out)) ** 0.5, "normal": 0.01}[scheme]
        assert layer.weight.std().item() == pytest.approx(spread, rel=0.1)


def test_every_network_but_the_one_with_its_own_takes_a_scheme() -> None:
    assert [name for name in MODELS if "init" not in model_arguments(name)] == ["speednet"]
