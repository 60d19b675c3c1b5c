"""Networks that give images: against networks written here from torch.nn alone, and images of any size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.models import MODELS, get_model
from lit_cnn.nn.reference.upsample import bilinear

NAMES = [name for name, info in MODELS.items() if info.task == "restoration"]


def noisy(model: nn.Module) -> nn.Module:
    """A network whose last layer is not zero, in evaluation mode."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def test_the_three_layers_of_srcnn_are_the_papers():
    torch.manual_seed(0)
    model = get_model("srcnn", num_classes=3)
    plain = nn.Sequential(
        nn.Conv2d(3, 64, 9, padding=4), nn.ReLU(), nn.Conv2d(64, 32, 1), nn.ReLU(), nn.Conv2d(32, 3, 5, padding=2)
    )
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    x = torch.rand(2, 3, 20, 23)
    assert torch.equal(model(x), plain(x))


def test_aodnet_is_the_formula_of_its_paper():
    torch.manual_seed(0)
    model = get_model("aodnet", num_classes=3)
    weights = list(model.state_dict().values())

    def layer(number: int, *inputs: Tensor) -> Tensor:
        weight, bias = weights[2 * number - 2 : 2 * number]
        return F.conv2d(torch.cat(inputs, 1), weight, bias, padding=weight.shape[-1] // 2).clamp(min=0)

    x = torch.rand(2, 3, 12, 15)
    x1 = layer(1, x)
    x2 = layer(2, x1)
    x3 = layer(3, x1, x2)
    x4 = layer(4, x2, x3)
    k = layer(5, x1, x2, x3, x4)
    assert [tuple(w.shape[-2:]) for w in weights[::2]] == [(1, 1), (3, 3), (5, 5), (7, 7), (3, 3)]
    torch.testing.assert_close(model(x), k * (x - 1) + 1)


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear", "unpooling"])
def test_a_unet_of_two_levels_is_one_typed_in(upsampling: str):
    torch.manual_seed(0)
    model = noisy(get_model("unet", num_classes=3, widths=[4, 8], upsampling=upsampling, norm=False))
    w = list(model.state_dict().values())

    def double(x: Tensor, at: int) -> Tensor:
        for i in (at, at + 2):
            x = F.conv2d(x, w[i], w[i + 1], padding=1).relu()
        return x

    x = torch.rand(2, 3, 12, 16)
    skip = double(x, 0)
    pooled = skip.unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1))
    deep = double(pooled, 4)
    if upsampling == "transposed":
        up = nn.functional.conv_transpose2d(deep, w[8], w[9], stride=2)
    else:
        up = F.conv2d(deep, w[8], w[9])
        if upsampling == "bilinear":
            up = bilinear(up, (12, 16))
        else:
            up = F.interpolate(up, scale_factor=2.0) * (F.interpolate(pooled, scale_factor=2.0) == skip)
            # where two of a window are its maximum, which ReLU makes of negative ones, the first counts
            first = torch.zeros_like(skip, dtype=torch.bool)
            places = F.max_pool2d(skip, 2, return_indices=True)[1]
            up = up * first.flatten(2).scatter(2, places.flatten(2), True).view_as(skip)
    out = F.conv2d(double(torch.cat((skip, up), 1), 10), w[14], w[15], padding=1)
    torch.testing.assert_close(model(x), x + out)


def test_an_untrained_unet_gives_the_image_it_was_given():
    x = torch.rand(2, 3, 21, 34)
    assert torch.equal(get_model("unet", num_classes=3)(x), x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (7, 30), (33, 18)])
def test_images_of_any_size_keep_it(name: str, size: tuple[int, int]):
    model = noisy(get_model(name, num_classes=1, in_channels=1))
    x = torch.rand(2, 1, *size)
    with torch.no_grad():
        assert model(x).shape == x.shape


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("srcnn", {}), ("aodnet", {}), ("unet", {"upsampling": "bilinear"}), ("unet", {"widths": [4, 8]})],
)
def test_no_output_pixel_sees_further_than_the_halo(name: str, arguments: dict):
    torch.manual_seed(0)
    model = noisy(get_model(name, num_classes=3, **arguments))
    side = 2 * model.halo + 48
    x = torch.rand(1, 3, side, side, requires_grad=True)
    for place in (side // 2, side // 2 + 1, side // 2 + 7):
        (seen,) = torch.autograd.grad(model(x)[0, :, place, place].sum(), x)
        rows = seen[0].abs().sum((0, 2)).nonzero()
        assert place - model.halo <= rows.min()
        assert rows.max() <= place + model.halo


@pytest.mark.parametrize("name", NAMES)
def test_images_of_other_channels_than_were_given_are_refused(name: str):
    with pytest.raises(UserError, match=f"{name}: num_classes must equal in_channels, which is 3, got 10"):
        get_model(name, num_classes=10)
