from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models import get_model
from lit_cnn.nn.reference.conv import HandConv2d


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def test_convnet_and_its_dilated_form_have_the_same_weights() -> None:
    plain, dilated = get_model("convnet_pooled"), get_model("dilated_convnet_padded")
    assert [m.out_channels for m in convolutions(plain)] == [32, 64, 128]
    assert [m.dilation[0] for m in convolutions(dilated)] == [1, 2, 5]
    assert [p.shape for p in plain.parameters()] == [p.shape for p in dilated.parameters()]


@pytest.mark.parametrize(("name", "sides"), [("convnet", [30, 28, 26]), ("dilated_convnet", [30, 26, 16])])
def test_maps_of_the_course_notes_networks_shrink_as_printed(name: str, sides: list[int]) -> None:
    x, seen = torch.zeros(1, 3, 32, 32), []
    for layer in get_model(name).features:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            seen.append(x.shape[-1])
    assert seen == sides


def test_kernel_depth_and_widths_of_the_convnet_are_arguments() -> None:
    model = get_model("convnet", kernel=5, widths=(4, 6), dilations=(1, 1))
    assert [(m.out_channels, m.kernel_size) for m in convolutions(model)] == [(4, (5, 5)), (6, (5, 5))]
    assert model.features(torch.zeros(1, 3, 12, 12)).shape == (1, 6, 4, 4)
    assert get_model("convnet", kernel=5, padding=True).features(torch.zeros(1, 3, 9, 9)).shape[-2:] == (9, 9)
    with pytest.raises(UserError, match="convnet: kernel must be odd with padding"):
        get_model("convnet", kernel=2, padding=True)


def test_myconvnet_is_one_hand_written_layer_unless_torchs_is_asked_for() -> None:
    assert [type(m) for m in convolutions(get_model("myconvnet"))] == [HandConv2d]
    assert [type(m) for m in convolutions(get_model("myconvnet", conv="torch"))] == [nn.Conv2d]
    x = torch.randn(2, 3, 8, 8)
    alone = get_model("myconvnet").eval()
    assert torch.allclose(alone(x)[:1], alone(x[:1]), atol=1e-6)  # an image's maps are its own


def test_dilation_keeps_the_size_of_the_image() -> None:
    assert get_model("dilated_convnet_padded").features(torch.zeros(1, 3, 20, 24)).shape == (1, 128, 20, 24)
    assert get_model("convnet_pooled").features(torch.zeros(1, 3, 20, 24)).shape == (1, 128, 2, 3)


def test_plain_and_residual_deep_have_18_convolutions_and_start_from_the_same_draw() -> None:
    torch.manual_seed(0)
    plain = get_model("plain_deep")
    torch.manual_seed(0)
    residual = get_model("residual_deep")
    assert len(convolutions(plain)) == 18
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), residual.parameters(), strict=True))
    x = torch.randn(2, 3, 16, 16)
    assert not torch.equal(plain.eval()(x), residual.eval()(x))
