from __future__ import annotations

import pytest
import torch
import torchvision.models
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lit_cnn.errors import UserError
from lit_cnn.inspection.layers import Layer, inspect_layers
from lit_cnn.models import MODELS, get_model
from lit_cnn.nn.reference.conv import HandConv2d
from tests.models.helpers import SMALL, small


def build(name: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return get_model(name, in_channels=MODELS[name].in_channels, **arguments)


def by_name(layers: list[Layer]) -> dict[str, Layer]:
    return {layer.name: layer for layer in layers}


def test_alexnet_on_227_pixels_has_the_published_maps_and_fields() -> None:
    layers = [layer for layer in inspect_layers(build("alexnet_original"), 227) if "2d" in layer.kind]
    assert [layer.output for layer in layers] == [
        (96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13),
        (384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6),
    ]  # fmt: skip
    assert [layer.receptive_field.size[0] for layer in layers] == [11, 19, 51, 67, 99, 131, 163, 195]
    assert [layer.receptive_field.stride[0] for layer in layers] == [4, 8, 8, 16, 16, 16, 16, 32]
    assert layers[2].kind == "Conv2d 5x5 p2 g2"


def test_five_3x3_layers_see_3_5_7_9_11_pixels() -> None:
    with torch.device("meta"):
        model = nn.Sequential(*[nn.Conv2d(3, 3, 3) for _ in range(5)])
    assert [layer.receptive_field.size for layer in inspect_layers(model, 32)[1:]] == [(n, n) for n in (3, 5, 7, 9, 11)]


def test_known_receptive_fields() -> None:
    # AlexNet 195 and VGG-16 212: Araujo et al. 2019, Computing receptive fields of CNNs, table 1.
    known = {"alexnet_original": 195, "vgg16": 212, "resnet18": 435, "resnet34": 899}
    for name, side in known.items():
        fields = [
            layer.receptive_field
            for layer in inspect_layers(build(name), 227)
            if layer.receptive_field and not layer.whole_image
        ]
        assert max(field.size for field in fields) == (side, side), name


def test_a_convolution_written_out_has_the_field_of_torchs() -> None:
    def model(conv: type[nn.Conv2d]) -> nn.Module:
        return nn.Sequential(
            conv(3, 4, 5, stride=2, padding=1), nn.ReLU(), conv(4, 4, (1, 3), padding="same", dilation=(1, 2), groups=2)
        )

    written_out, torchs = (inspect_layers(model(conv), 33) for conv in (HandConv2d, nn.Conv2d))
    assert [layer.receptive_field for layer in written_out] == [layer.receptive_field for layer in torchs]
    assert written_out[-1].receptive_field.size == (5, 13)
    assert [layer.macs for layer in written_out] == [layer.macs for layer in torchs]
    assert not any(layer.undefined_because for layer in written_out)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.ConvTranspose2d(3, 3, 2, 2), "up-sampling"),
        (nn.Upsample(scale_factor=2), "up-sampling"),
        (nn.AdaptiveAvgPool2d(5), "unequal size"),
        (nn.PixelShuffle(1), ""),
    ],
)
def test_where_the_receptive_field_becomes_undefined_the_first_layer_gives_the_reason(
    layer: nn.Module, reason: str
) -> None:
    layers = inspect_layers(nn.Sequential(nn.Conv2d(3, 3, 3), layer, nn.Conv2d(3, 3, 3)), 16)[1:]
    assert [bool(found.undefined_because) for found in layers] == [False, bool(reason), False]
    assert reason in layers[1].undefined_because


class Average(nn.Module):
    """Stands in for a max-pool, whose gradient reaches one pixel of its window only."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, ceil_mode=pool.ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)


def positive(model: nn.Module) -> nn.Module:
    """Make every path through the model carry a positive gradient, so that none cancels or dies."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, Average(child))
            elif isinstance(child, nn.GELU | nn.Sigmoid | nn.ReLU6):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(0.5, 1.0)
    return model.double().eval()


@pytest.mark.parametrize(
    ("key", "size", "layer"),
    [
        ("alexnet_half", 224, "features.8"),
        ("vgg7", 64, "features.8"),
        ("resnet20", 48, "layer2.1"),
        ("resnet18", 128, "layer2.0.conv1"),
        ("plain20", 48, "layer2.1"),
        ("googlenet", 160, "inception3a"),
        ("googlenet_d2l", 160, "inception3a"),
        ("densenet_small", 96, "features.transition2"),
        ("dilated_convnet_padded", 32, "features.8"),
        ("residual_deep", 32, "stages.1.0"),
        ("speednet", 48, "blocks.1"),
    ],
)
def test_predicted_pixels_are_exactly_those_with_a_gradient_at_a_centre_unit(key: str, size: int, layer: str) -> None:
    torch.manual_seed(0)
    name = key.split()[0]
    arguments = SMALL.get(key, ({}, 0))[0] | ({"image_size": size} if key == "alexnet_half" else {})
    model = get_model(name, num_classes=2, in_channels=MODELS[name].in_channels, **arguments)
    model = positive(model)
    channels = MODELS[name].in_channels
    field = by_name(inspect_layers(model, size, channels))[layer].receptive_field

    maps = []
    model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: maps.append(output))
    x = torch.ones(1, channels, size, size, dtype=torch.float64, requires_grad=True)
    model(x)
    row, column = maps[0].shape[2] // 2, maps[0].shape[3] // 2
    (gradient,) = torch.autograd.grad(maps[0][0, :, row, column].sum(), x)

    expected = torch.zeros(size, size, dtype=torch.bool)
    top, left = field.window[0] + row * field.stride[0], field.window[1] + column * field.stride[1]
    for i, j in field.touched().nonzero().tolist():
        if 0 <= top + i < size and 0 <= left + j < size:
            expected[top + i, left + j] = True
    assert torch.equal(gradient[0].sum(0) > 0, expected)


@pytest.mark.parametrize("key", list(SMALL))
def test_multiplications_are_half_of_torchs_flops_and_parameters_are_counted(key: str) -> None:
    model, x = small(key)
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x[:1])
    whole = inspect_layers(model, x.shape[-1], x.shape[1])[0]
    assert whole.macs == counter.get_total_flops() / 2
    assert whole.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row.torchvision])
def test_multiplications_of_twins_are_those_torchvision_publishes(name: str) -> None:
    published = torchvision.models.get_model_weights(MODELS[name].torchvision).DEFAULT.meta["_ops"]
    assert round(inspect_layers(build(name), 224)[0].macs / 1e9, 3) == pytest.approx(published, abs=0.0011)


def test_children_add_up_to_their_parent() -> None:
    layers = inspect_layers(build("resnet18"), 224)
    for parent in (layers[0], by_name(layers)["layer2"]):
        children = [
            layer for layer in layers
            if layer.depth == parent.depth + 1 and layer.name.startswith(f"{parent.name}." if parent.name else "")
        ]  # fmt: skip
        assert parent.macs == sum(layer.macs for layer in children)
        assert parent.parameters == sum(layer.parameters for layer in children)


def test_attention_is_counted_and_has_no_receptive_field() -> None:
    with torch.device("meta"):
        model = torchvision.models.vit_b_32(weights=None)
    layers = inspect_layers(model, 224)
    assert layers[0].macs / 1e9 == pytest.approx(4.409, abs=0.02)  # torchvision publishes 4.409
    assert by_name(layers)["conv_proj"].receptive_field.size == (32, 32)
    assert by_name(layers)["encoder"].receptive_field is None
    assert not by_name(layers)["encoder"].whole_image


def test_squeeze_and_excitation_makes_every_unit_depend_on_the_full_image() -> None:
    with torch.device("meta"):
        model = torchvision.models.mobilenet_v3_small(weights=None)
    layers = by_name(inspect_layers(model, 224))
    assert not layers["features.0"].whole_image
    assert layers["features.1"].whole_image


def test_the_model_is_left_as_it_was() -> None:
    model, _ = small("resnet20")
    model.train()
    model.layer1.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    inspect_layers(model, 32)
    assert model.training
    assert not model.layer1.training
    assert model.layer2.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_size_that_does_not_fit_is_a_user_error() -> None:
    with pytest.raises(UserError, match="VGG cannot take 16x16 images; the smallest size that works is 32x32"):
        inspect_layers(build("vgg11"), 16)
