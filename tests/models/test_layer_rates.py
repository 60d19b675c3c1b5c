"""Learning rates by depth."""

from __future__ import annotations

import pytest
import timm
from timm.optim import param_groups_layer_decay

from lit_cnn.models import get_model
from lit_cnn.models._layer_rates import lr_scales


def test_the_rate_falls_by_the_same_factor_from_block_to_block() -> None:
    scales = lr_scales(get_model("resnet18", num_classes=7), 0.5, None, 7)
    found = [scales[f"{name}.weight"] for name in ("conv1", "bn1", "layer1.0.conv1", "layer4.1.conv2", "fc")]
    assert found == [2**-6, 2**-5, 2**-4, 2**-1, 1.0]


def test_the_heads_have_a_factor_of_their_own() -> None:
    scales = lr_scales(get_model("googlenet", num_classes=7), None, 10.0, 7)
    assert {name for name, scale in scales.items() if scale == 10.0} == {
        name for name in scales if name.startswith(("fc.", "aux"))
    }
    assert set(scales.values()) == {1.0, 10.0}


def test_the_factors_of_a_timm_network_are_timms_where_its_layers_are_our_blocks() -> None:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5)
    ours = lr_scales(network, 0.75, None, 5)
    groups = param_groups_layer_decay(network, 0.0, layer_decay=0.75)
    members = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    theirs = {name: members[id(p)] for name, p in network.named_parameters()}
    inside = [name for name in ours if name.startswith("blocks.")]
    # timm counts the final norm with the last blocks and the embedding as layer 0, so only steps between blocks agree
    steps = [ours[name] / ours["blocks.0.norm1.weight"] for name in inside]
    assert steps == pytest.approx([theirs[name] / theirs["blocks.0.norm1.weight"] for name in inside])
    assert ours["cls_token"] == min(ours.values())
