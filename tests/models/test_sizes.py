from __future__ import annotations

import pytest
import torch
import torchvision.models

from lit_cnn.errors import UserError
from lit_cnn.models import MODELS, explain, get_model, smallest_input

from .helpers import small


@pytest.mark.parametrize(
    "key",
    ["lenet", "mnist_cnn", "alexnet", "alexnet_half", "vgg11_bn", "vgg9_cifar", "nin", "densenet_small", "convnet"],
)
def test_the_smallest_size_works_and_one_pixel_less_says_so(key: str) -> None:
    model, x = small(key)
    smallest = smallest_input(model)
    model.train()(x.new_zeros(2, x.shape[1], smallest, smallest))
    with pytest.raises(
        UserError, match=f"cannot take .* the smallest size that works is {smallest}x{smallest}"
    ) as error:
        model(x.new_zeros(2, x.shape[1], smallest - 1, smallest - 1))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("lenet5", 32),
        ("mnist_cnn", 26),  # ((26 - 2) / 2 - 2) / 2 - 2 = 3
        ("alexnet", 63),  # ((63 + 4 - 11) / 4 + 1 = 15, 7, 3, 1
        ("alexnet_original", 227),
        ("vgg16", 32),
        ("vgg7", 16),
        ("densenet121", 29),
        ("resnet18", 1),
        ("speednet", 9),  # 8, 4, 2, 1
    ],
)
def test_smallest_sizes_worked_out_by_hand(name: str, smallest: int) -> None:
    with torch.device("meta"):
        assert smallest_input(get_model(name, in_channels=MODELS[name].in_channels)) == smallest


def test_auxiliary_heads_make_the_smallest_size_larger() -> None:
    with torch.device("meta"):
        with_heads = get_model("googlenet")
        without = get_model("googlenet", aux_heads=False)
    # Heads pool 5x5 on a map of a sixteenth: sides 79, 40, 20, 10, 5.
    assert smallest_input(with_heads) == 79
    # Rounded up, 3x3 pools need two rows: sides 31, 16, 8, 4, 2.
    assert smallest_input(without) == 31


def test_looking_for_the_smallest_size_changes_nothing_in_the_model() -> None:
    model, _ = small("googlenet_bn")
    model.eval()
    model.inception3a.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    smallest_input(model)
    assert not model.training
    assert model.inception3a.branch1.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_network_of_fixed_size_says_how_to_build_it_for_another() -> None:
    model = get_model("lenet", num_classes=10, in_channels=1)
    with pytest.raises(UserError, match=r"LeNet cannot take 64x64 images; .* built for 28x28: .*image_size=64"):
        model(torch.zeros(1, 1, 64, 64))
    assert get_model("lenet", num_classes=10, in_channels=1, image_size=64)(torch.zeros(1, 1, 64, 64)).shape == (1, 10)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 1, 32, 32), "ResNet was built for 3 input channels, got 1: build it with in_channels=1"),
        (torch.zeros(3, 32, 32), r"shape \(N, C, H, W\), got a tensor of shape \(3, 32, 32\)"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "takes float images, got torch.uint8"),
    ],
)
def test_other_wrong_inputs_get_one_line_too(x: torch.Tensor, message: str) -> None:
    model, _ = small("resnet20")
    with pytest.raises(UserError, match=message):
        model(x)


def test_a_batch_of_one_that_batch_norm_refuses_is_named() -> None:
    model = get_model("resnet18", num_classes=2)
    with pytest.raises(UserError, match="cannot train on one image of 32x32: batch normalisation needs two"):
        model(torch.zeros(1, 3, 32, 32))
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_an_error_that_the_input_did_not_cause_is_left_alone() -> None:
    model, x = small("resnet20")

    def out_of_memory(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if not output.is_meta:
            raise RuntimeError("out of memory")

    model.layer2[0].conv1.register_forward_hook(out_of_memory)
    with pytest.raises(RuntimeError, match="out of memory"):
        model(x)


def test_models_of_other_zoos_are_explained_and_measured_too() -> None:
    with torch.device("meta"):
        assert smallest_input(torchvision.models.vgg11(weights=None)) == 32
        vit = torchvision.models.vit_b_32(weights=None)
    assert smallest_input(vit) == 224
    assert explain(vit, torch.zeros(1, 3, 224, 224)) == ""
    assert "the smallest size that works is 224x224" in explain(vit, torch.zeros(1, 3, 64, 64))
