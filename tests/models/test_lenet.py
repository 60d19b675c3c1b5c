from __future__ import annotations

import torch
from torch import nn

from lit_cnn.models import get_model


def test_c1_of_lenet5_has_156_parameters_and_122304_connections() -> None:
    c1 = get_model("lenet5", num_classes=10, in_channels=1).features[0]
    parameters = sum(p.numel() for p in c1.parameters())
    side = c1(torch.zeros(1, 1, 32, 32)).shape[-1]
    assert parameters == 156
    assert parameters * side**2 == 122_304


def test_padding_on_28_pixels_does_what_32_pixels_do() -> None:
    small = get_model("lenet", num_classes=10, in_channels=1)
    large = get_model("lenet5", num_classes=10, in_channels=1)
    large.load_state_dict(small.state_dict())
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(large(nn.functional.pad(x, (2, 2, 2, 2))), small(x))


def test_forms_differ_in_activation_and_pooling() -> None:
    def kinds(name: str, **arguments: object) -> set[type]:
        return {type(m) for m in get_model(name, num_classes=10, **arguments).modules()} & {
            nn.Sigmoid, nn.ReLU, nn.Tanh, nn.AvgPool2d, nn.MaxPool2d,
        }  # fmt: skip

    assert kinds("lenet") == kinds("lenet5") == {nn.Sigmoid, nn.AvgPool2d}
    assert kinds("lenet_maxpool") == kinds("lenet_color") == {nn.ReLU, nn.MaxPool2d}
    assert kinds("lenet", activation="tanh", pool="max") == {nn.Tanh, nn.MaxPool2d}


def test_the_colour_form_has_16_and_32_channels() -> None:
    model = get_model("lenet_color", num_classes=10, in_channels=3)
    assert [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)] == [16, 32]
