from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models import get_model
from lit_cnn.models.resnet import BasicBlock, Bottleneck

from .helpers import randomise


def build(name: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return get_model(name, **arguments)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152, 20, 32, 44, 56, 110])
def test_every_depth_has_a_plain_twin_with_the_same_layers_but_the_shortcuts(depth: int) -> None:
    twin, plain = build(f"resnet{depth}"), build(f"plain{depth}")
    left = {key: value.shape for key, value in twin.state_dict().items() if "downsample" not in key}
    assert left == {key: value.shape for key, value in plain.state_dict().items()}
    assert not any(block.residual for block in plain.modules() if isinstance(block, BasicBlock | Bottleneck))


def test_a_plain_block_is_the_residual_one_without_the_sum() -> None:
    block = randomise(build("plain20")).layer1[0].eval()
    x = torch.randn(1, 16, 8, 8)
    by_hand = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu())).relu()
    torch.testing.assert_close(block(x), by_hand)
    block.residual = True
    torch.testing.assert_close(block(x), (block.bn2(block.conv2(block.bn1(block.conv1(x)).relu())) + x).relu())


def test_option_a_takes_every_second_pixel_and_pads_channels_with_zeros() -> None:
    shortcut = build("resnet20").layer2[0].downsample
    x = torch.randn(2, 16, 8, 8)
    out = shortcut(x)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, :16], x[:, :, ::2, ::2])
    assert out[:, 16:].abs().max() == 0
    assert not list(shortcut.parameters())


def test_the_stride_is_in_the_1x1_for_v1_and_in_the_3x3_for_v15() -> None:
    for name, strides in (("resnet50", (1, 2, 1)), ("resnet50_v1", (2, 1, 1))):
        block = build(name).layer2[0]
        assert tuple(conv.stride[0] for conv in (block.conv1, block.conv2, block.conv3)) == strides


def test_the_cifar_stem_keeps_32_pixels_and_the_imagenet_stem_quarters_them() -> None:
    x = torch.empty(1, 3, 32, 32, device="meta")
    assert build("resnet18", stem="cifar", include_top=False).eval()(x).shape == (1, 512, 4, 4)
    assert build("resnet18", include_top=False).eval()(x).shape == (1, 512, 1, 1)


def test_the_cifar_family_counts_6n_plus_2_layers() -> None:
    for depth in (20, 32, 44, 56, 110):
        layers = [m for m in build(f"resnet{depth}").modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert len(layers) == depth


@pytest.mark.parametrize("name", ["plain18", "plain50", "resnet20"])
def test_zero_init_without_shortcuts_is_refused_for_nothing_would_get_through(name: str) -> None:
    with pytest.raises(UserError, match="zero_init_residual must be false without shortcuts: it makes") as error:
        build(name, residual=False, zero_init_residual=True)
    assert "\n" not in str(error.value)


def test_zero_init_makes_every_block_start_as_its_shortcut() -> None:
    torch.manual_seed(0)
    model = get_model("resnet20", zero_init_residual=True).eval()
    x = torch.rand(1, 16, 8, 8)
    assert torch.equal(model.layer1(x), x)
