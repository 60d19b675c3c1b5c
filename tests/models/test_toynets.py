from __future__ import annotations

import torch
from torch import nn

from lit_cnn.models import get_model


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def test_convnet_and_its_dilated_form_have_the_same_weights() -> None:
    plain, dilated = get_model("convnet"), get_model("dilated_convnet")
    assert [m.out_channels for m in convolutions(plain)] == [32, 64, 128]
    assert [m.dilation[0] for m in convolutions(dilated)] == [1, 2, 5]
    assert [p.shape for p in plain.parameters()] == [p.shape for p in dilated.parameters()]


def test_dilation_keeps_the_size_of_the_image() -> None:
    assert get_model("dilated_convnet").features(torch.zeros(1, 3, 20, 24)).shape == (1, 128, 20, 24)
    assert get_model("convnet").features(torch.zeros(1, 3, 20, 24)).shape == (1, 128, 2, 3)


def test_plain_and_residual_deep_have_18_convolutions_and_start_from_the_same_draw() -> None:
    torch.manual_seed(0)
    plain = get_model("plain_deep")
    torch.manual_seed(0)
    residual = get_model("residual_deep")
    assert len(convolutions(plain)) == 18
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), residual.parameters(), strict=True))
    x = torch.randn(2, 3, 16, 16)
    assert not torch.equal(plain.eval()(x), residual.eval()(x))
