"""Grad-CAM against its definition, the layer that it takes, and what it leaves behind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.interpret.features import head_inputs
from lit_cnn.interpret.grad_cam import find_layer, grad_cam, layer_cam
from lit_cnn.models import get_model


class Plain(nn.Module):
    """Two convolutions, the second one's ReLU in place, mean pooling and a dense head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(6, 3)

    def maps(self, x: Tensor) -> Tensor:
        return self.relu(self.two(self.one(x).relu()))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x).mean((2, 3)))


def test_the_map_is_that_of_the_definition():
    network, images, classes = Plain().eval(), torch.randn(5, 2, 9, 11), torch.tensor([0, 1, 2, 0, 1])
    found = grad_cam(network, images, classes)
    # the gradient of a logit by each position of a mean-pooled map is the head's weight over their number
    maps = network.maps(images).detach()
    weights = network.head.weight[classes].detach() / maps[0, 0].numel()
    heat = torch.einsum("nc,nchw->nhw", weights, maps).relu()
    heat = F.interpolate(heat[:, None], (9, 11), mode="bilinear")[:, 0]
    top = heat.amax((1, 2), keepdim=True)
    torch.testing.assert_close(found, torch.where(top > 0, heat / top.clamp_min(1e-30), 0.0))
    assert found.shape == (5, 9, 11)


def test_neither_gradients_nor_hooks_are_left_and_frozen_networks_are_explained_alike():
    network, images, classes = Plain().eval(), torch.randn(2, 2, 8, 8), torch.tensor([1, 2])
    found = grad_cam(network, images, classes)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    with torch.no_grad():
        assert torch.equal(found, grad_cam(network.requires_grad_(False), images, classes))


@pytest.mark.parametrize(
    ("name", "arguments", "size", "layer"),
    [
        ("lenet_maxpool", {}, 28, "features"),
        ("resnet18", {}, 64, "layer4"),
        ("nin", {}, 224, "classifier.3"),
        ("googlenet", {}, 64, "inception5b"),
        ("timm/vit_tiny_patch16_224", {}, 224, "blocks.11.norm1"),
        ("torchvision/mobilenet_v3_small", {}, 64, "features"),
    ],
)
def test_the_layer_is_the_last_one_with_positions_that_the_logits_depend_on(name, arguments, size, layer):
    torch.manual_seed(0)
    network = get_model(name, num_classes=7, in_channels=3, **arguments).eval()
    images = torch.randn(1, 3, size, size)
    found = find_layer(network, images)
    assert layer in (None, found)
    heat = grad_cam(network, images, torch.tensor([3]), layer)
    assert heat.shape == (1, size, size)
    assert 0 <= float(heat.min()) <= float(heat.max()) <= 1


def test_a_class_that_nothing_speaks_for_has_a_map_of_zeros():
    network = Plain().eval()
    nn.init.constant_(network.head.weight, -1.0)
    assert not grad_cam(network, torch.randn(1, 2, 8, 8), torch.tensor([0])).any()


def test_networks_without_positions_and_unknown_layers_are_refused():
    dense = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    with pytest.raises(UserError, match="no layer with an output of several positions"):
        grad_cam(dense, torch.randn(1, 3, 4, 4), torch.tensor([0]))
    with pytest.raises(UserError, match="no layer 'three'"):
        grad_cam(Plain().eval(), torch.randn(1, 2, 8, 8), torch.tensor([0]), "three")
    with pytest.raises(UserError, match="no layer 'head' with an output of several positions"):
        grad_cam(Plain().eval(), torch.randn(1, 2, 8, 8), torch.tensor([0]), "head")


def test_features_are_what_the_head_gets_and_of_a_convolution_their_mean():
    network, images = Plain().eval(), torch.randn(3, 2, 8, 8)
    assert torch.equal(head_inputs(network, images), network.maps(images).mean((2, 3)).detach())
    assert head_inputs(get_model("nin", num_classes=5).eval(), torch.randn(2, 3, 224, 224)).shape == (2, 192)


def test_layer_cam_weights_every_activation_by_its_own_positive_gradient():
    network, images, classes = Plain().eval(), torch.randn(3, 2, 9, 11), torch.tensor([0, 1, 2])
    maps = network.maps(images).detach()
    weights = network.head.weight[classes].detach().relu()
    heat = torch.einsum("nc,nchw->nhw", weights, maps)
    heat = F.interpolate(heat[:, None], (9, 11), mode="bilinear")[:, 0]
    expected = heat / heat.amax((1, 2), keepdim=True)
    torch.testing.assert_close(layer_cam(network, images, classes), expected)


def test_both_equal_captum():
    attr = pytest.importorskip("captum.attr")
    network, images, classes = Plain().eval(), torch.randn(3, 2, 9, 11), torch.tensor([0, 1, 2])
    network.relu.inplace = False  # captum would read what it has overwritten
    heat = attr.LayerGradCam(network, network.two).attribute(images, classes, relu_attributions=True).detach()
    heat = F.interpolate(heat, (9, 11), mode="bilinear")[:, 0]
    top = heat.amax((1, 2), keepdim=True)
    expected = torch.where(top > 0, heat / top.clamp_min(1e-30), 0.0)
    torch.testing.assert_close(grad_cam(network, images, classes, "two"), expected)
    # LayerCAM from captum's gradients times activations: its gradients that are below 0 do not count
    parts = attr.LayerGradientXActivation(network, network.one).attribute(images, classes).detach()
    values = attr.LayerActivation(network, network.one).attribute(images).detach()
    heat = torch.where(parts * values.sign() > 0, parts, 0.0).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat, (9, 11), mode="bilinear")[:, 0]
    torch.testing.assert_close(
        layer_cam(network, images, classes, "one"), heat / heat.amax((1, 2), keepdim=True), rtol=1e-4, atol=1e-5
    )
