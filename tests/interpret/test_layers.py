"""Feature maps, first filters, weights and exciting images against networks whose answer is known."""

from __future__ import annotations

import pytest
import torch

from lit_cnn.errors import UserError
from lit_cnn.interpret.layers import feature_maps, first_filters, most_exciting, stages, weight_matrices
from lit_cnn.models import get_model
from tests.interpret.test_grad_cam import Plain


def test_feature_maps_are_the_layers_outputs_in_the_order_given():
    network, images = Plain().eval(), torch.randn(2, 2, 8, 8)
    found = feature_maps(network, images, ["relu", "one"])
    assert list(found) == ["relu", "one"]
    assert torch.equal(found["relu"], network.maps(images).detach())
    assert torch.equal(found["one"], network.one(images).detach())


@pytest.mark.parametrize("layer", ["head", "three"])
def test_a_layer_without_maps_is_refused_by_its_name(layer):
    with pytest.raises(UserError, match=f"no layer '{layer}'"):
        feature_maps(Plain().eval(), torch.randn(1, 2, 8, 8), [layer])


def test_stages_are_the_last_layers_of_each_resolution():
    network = get_model("resnet18", num_classes=4).eval()
    found = stages(network, torch.randn(1, 3, 64, 64), "layer4")
    assert found[-4:] == ["layer1", "layer2", "layer3", "layer4"]


@pytest.mark.slow
def test_stages_stay_in_their_order_where_a_small_output_comes_early():
    network = get_model("timm/swin_tiny_patch4_window7_224", num_classes=4).eval()
    found = stages(network, torch.randn(1, 3, 224, 224), "norm")
    assert found[0] == "layers.0"
    assert found[-1] == "norm"


def test_the_first_convolution_and_weights_are_found():
    network = Plain()
    name, filters = first_filters(network, 2)
    assert name == "one"
    assert torch.equal(filters, network.one.weight)
    assert first_filters(network, 3) is None
    assert list(weight_matrices(network)) == ["one.weight", "two.weight", "head.weight"]
    assert list(weight_matrices(network, 2)) == ["one.weight", "head.weight"]


def test_the_most_selective_filter_comes_first_with_its_images():
    peaks = torch.tensor([[1.0, 5.0, 0.0], [2.0, 5.0, 0.0], [1.0, 5.0, 0.0], [2.0, 5.0, 9.0]])
    filters, images = most_exciting(peaks, 3, 2)
    assert filters.tolist() == [2, 0, 1]
    assert images[:2].tolist() == [[3, 0], [1, 3]]
