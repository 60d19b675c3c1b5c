from __future__ import annotations

import pytest
import torch
import torchvision.models

from lit_cnn.errors import UserError
from lit_cnn.models import MODELS, get_model, input_error, smallest_input
from tests.models.helpers import small


@pytest.mark.parametrize(
    "key",
    [
        "lenet",
        "mnist_cnn",
        "alexnet",
        "alexnet_half",
        "vgg11_bn",
        "vgg9_cifar",
        "nin",
        "densenet_small",
        "convnet_pooled",
    ],
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
        ("vgg7", 8),
        ("densenet121", 29),
        ("resnet18", 1),
        ("speednet", 9),  # 8, 4, 2, 1
    ],
)
def test_smallest_sizes_equal_a_hand_computation(name: str, smallest: int) -> None:
    with torch.device("meta"):
        assert smallest_input(get_model(name, in_channels=MODELS[name].in_channels)) == smallest


def test_auxiliary_heads_make_the_smallest_size_larger_in_training_only() -> None:
    with torch.device("meta"):
        with_heads = get_model("googlenet")
        without = get_model("googlenet", aux_heads=False)
    for model in (with_heads, with_heads.eval()):  # the mode it is in does not matter
        # Heads pool 5x5 on a map of a sixteenth: sides 79, 40, 20, 10, 5.
        assert smallest_input(model) == smallest_input(model, training=True) == 79
        # Rounded up, 3x3 pools need two rows: sides 31, 16, 8, 4, 2.
        assert smallest_input(model, training=False) == 31
    assert smallest_input(without) == smallest_input(without, training=False) == 31


@pytest.mark.parametrize("training", [True, False])
def test_the_size_reported_is_that_of_the_mode_and_the_other_modes_is_named(training: bool) -> None:
    model, _ = small("googlenet")
    model.train(training)
    right, other = (79, 31) if training else (31, 79)
    mode, another = ("training", "evaluation") if training else ("evaluation", "training")
    model(torch.zeros(2, 3, right, right))
    with pytest.raises(UserError) as error:
        model(torch.zeros(2, 3, right - 1, right - 1))
    assert str(error.value) == (
        f"GoogLeNet cannot take {right - 1}x{right - 1} images in {mode}; "
        f"the smallest size that works is {right}x{right} ({other}x{other} in {another})"
    )


def test_networks_without_auxiliary_heads_name_one_size_for_both_modes() -> None:
    model, _ = small("vgg11_bn")
    line = "VGG cannot take 31x31 images; the smallest size that works is 32x32"
    assert input_error(model.train(), torch.zeros(2, 3, 31, 31)) == line
    assert input_error(model.eval(), torch.zeros(2, 3, 31, 31)) == line


def test_looking_for_the_smallest_size_changes_nothing_in_the_model() -> None:
    model, _ = small("googlenet_bn")
    model.eval()
    model.inception3a.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    smallest_input(model)
    assert not model.training
    assert model.inception3a.branch1.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# The smallest side whose last map has one pixel, worked out from the layers backwards.
FIXED = {"lenet": 12, "lenet5": 16, "mnist_cnn": 18, "alexnet_original": 67, "alexnet_half": 63, "alexnet_grey": 65}


@pytest.mark.parametrize("name", list(FIXED))
def test_a_network_of_fixed_size_offers_only_image_sizes_that_it_can_be_built_for(name: str) -> None:
    channels, least = MODELS[name].in_channels, FIXED[name]
    with torch.device("meta"):
        model = get_model(name, num_classes=10, in_channels=channels)

        def build(size: int) -> torch.nn.Module:
            return get_model(name, num_classes=10, in_channels=channels, image_size=size)

        def line(height: int, width: int) -> str:
            return input_error(model, torch.zeros(2, channels, height, width, device="cpu"))

        built = model.image_size
        fixed = f"its dense layers were built for {built}x{built}: set `data.image_size={built}`, or"
        for size in (least, least + 1, 2 * built):
            assert line(size, size).endswith(f"{fixed} `model.backbone_args.image_size={size}`")
            assert build(size)(torch.empty(2, channels, size, size)).shape == (2, 10)
        for height, width in ((least - 1, least - 1), (1, 1), (2 * built, 3 * built)):
            assert line(height, width).endswith(
                f"{fixed} `model.backbone_args.image_size` (square images, from {least} up)"
            )
        with pytest.raises(UserError, match=f"image_size {least - 1} is too small, the smallest is {least}"):
            build(least - 1)
        # A larger image is no reason to name the smallest one.
        assert "smallest size" in line(least, least)
        assert "smallest size" not in line(2 * built, 2 * built)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            torch.zeros(2, 1, 32, 32),
            "ResNet was built for 3 input channels, got 1: set `data.channels=3`",
        ),
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
    assert input_error(vit, torch.zeros(1, 3, 224, 224)) == ""
    # It takes one size only, and has an image_size that is not that of dense layers behind a map.
    cannot = "VisionTransformer cannot take"
    assert (
        input_error(vit, torch.zeros(1, 3, 64, 64)) == f"{cannot} 64x64 images; the smallest size that works is 224x224"
    )
    assert input_error(vit, torch.zeros(1, 3, 256, 256)) == f"{cannot} 256x256 images; a size that works is 224x224"


def test_where_only_some_sizes_go_through_the_next_larger_common_one_is_named_or_the_nearest() -> None:
    class Some(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[2] not in (1, 64, 224, 256):
                raise RuntimeError(f"no {x.shape[2]}")
            return x

    assert (
        input_error(Some(), torch.zeros(2, 3, 90, 90)) == "Some cannot take 90x90 images; a size that works is 224x224"
    )
    assert input_error(Some(), torch.zeros(2, 3, 500, 500)).endswith("; a size that works is 256x256")


def test_where_no_size_goes_through_the_size_is_not_blamed() -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken")

    assert input_error(Broken(), torch.zeros(2, 3, 32, 32)) == ""
    with pytest.raises(UserError, match="Broken accepts no square input of up to 1024 pixels"):
        smallest_input(Broken())


def test_a_compiled_model_is_explained_without_compiling_it_for_every_size() -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        graphs.append(graph)
        return graph.forward

    model, x = small("convnet_pooled")
    model.compile(backend=backend)
    model(x)
    before = len(graphs)
    assert "the smallest size that works is 8x8" in input_error(model, torch.zeros(2, 3, 7, 7))
    assert len(graphs) == before
