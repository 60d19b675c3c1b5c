from __future__ import annotations

import torch
from torch import nn

from lit_cnn.models import get_model


def build(name: str = "densenet_small", **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return get_model(name, **arguments)


def test_every_layer_adds_growth_rate_channels_and_transitions_keep_the_given_share() -> None:
    model = build(growth_rate=10, compression=0.3)
    x = torch.empty(1, 64, 8, 8, device="meta")
    x = model.features.denseblock1(x)
    assert x.shape[1] == 64 + 4 * 10
    assert model.features.transition1(x).shape == (1, int(104 * 0.3), 4, 4)


def test_a_layer_sees_the_maps_of_all_before_it_and_passes_them_on_unchanged() -> None:
    torch.manual_seed(0)
    block = get_model("densenet_small").features.denseblock1.eval()
    x = torch.randn(1, 64, 4, 4)
    out = block(x)
    assert torch.equal(out[:, :64], x)
    assert torch.equal(out[:, 96:128], block.denselayer2(out[:, :96]))


def test_bottleneck_and_dropout_are_switches() -> None:
    plain, narrow = build(), build(bottleneck=True)
    assert [m.kernel_size for m in plain.features.denseblock1.denselayer1.children() if isinstance(m, nn.Conv2d)] == [
        (3, 3)
    ]
    assert narrow.features.denseblock1.denselayer1.conv1.out_channels == 4 * 32
    assert build(dropout=0.2).features.denseblock1.denselayer1.dropout.p == 0.2
