"""Small forms of every architecture, for tests that run them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from lit_cnn.models import MODELS, get_model

CLASSES = 7

# One entry per architecture and per switch that changes what is computed: arguments that keep it small, image side.
# What follows a blank in a key only distinguishes entries of one model.
SMALL: dict[str, tuple[dict[str, object], int]] = {
    "mlp": ({"image_size": 8, "hidden": (16, 8), "dropout": 0.2, "batch_norm": True}, 8),
    "lenet": ({}, 28),
    "lenet_color": ({}, 32),
    "mnist_cnn": ({}, 28),
    "alexnet": ({"hidden": 32}, 63),
    "alexnet_original": ({"hidden": 32, "image_size": 67}, 67),
    "alexnet_original after": ({"hidden": 32, "image_size": 67, "lrn_after_pool": True}, 67),
    "alexnet_notes": ({"hidden": 32, "image_size": 64, "third_padding": 1}, 64),
    "alexnet_half": ({"hidden": 32, "image_size": 64}, 64),
    "alexnet_grey": ({"hidden": 32, "image_size": 65}, 65),
    "vgg7": ({"hidden": (32, 16), "head_activation": "relu6", "dropout": 0.4, "dropout_at": "all", "pool_to": 2}, 32),
    "vgg16_c": ({"hidden": (16,), "dropout_at": "before", "pool_to": 1}, 32),
    "vgg11_bn": ({"hidden": (32,), "pool_to": 1}, 32),
    "vgg9_cifar": ({}, 32),
    "nin": ({}, 16),
    "nin max": ({"pool": "max", "dropout2d": True}, 16),
    "nin_imagenet": ({}, 96),
    "googlenet": ({}, 96),
    "googlenet_bn": ({}, 96),
    "googlenet_d2l": ({}, 48),
    "resnet18": ({}, 64),
    "resnet50": ({"stem": "cifar"}, 16),
    "resnet50_v1": ({"stem": "cifar"}, 16),
    "resnet18_d2l": ({}, 32),
    "resnet20": ({}, 32),
    "plain20": ({}, 32),
    "densenet_small": ({}, 32),
    "densenet_small bottleneck": ({"bottleneck": True}, 64),
    "densenet_small narrow": ({"bottleneck": True, "bn_size": 2, "bias": True}, 64),
    "densenet_small cifar": ({"bottleneck": True, "stem": "cifar", "compression": 1.0, "dropout": 0.1}, 16),
    "residual_cifar": ({"hidden": (8,), "blocks": (1, 1), "image_size": 8}, 8),
    "residual_cifar_bn": ({}, 32),
    "convnet": ({}, 16),
    "dilated_convnet": ({"dilations": (1, 2, 2)}, 16),
    "myconvnet": ({}, 8),
    "convnet_pooled": ({}, 32),
    "dilated_convnet_padded": ({}, 32),
    "plain_deep": ({}, 32),
    "residual_deep": ({}, 32),
    "speednet": ({}, 32),
    "srcnn": ({"residual": True}, 16),
    "aodnet": ({}, 16),
    "unet": ({"widths": (4, 8)}, 17),
    "unet bilinear": ({"widths": (4, 8, 8), "upsampling": "bilinear", "norm": False}, 16),
    "unet unpooling": ({"widths": (4, 8), "upsampling": "unpooling", "residual": False}, 16),
}


def small(key: str) -> tuple[nn.Module, Tensor]:
    """A small form of the model with seeded weights, and a batch of four images for it."""
    torch.manual_seed(0)
    name = key.split()[0]
    arguments, size = SMALL[key]
    x = torch.randn(4, MODELS[name].in_channels, size, size)
    return get_model(name, num_classes=outputs(name, x)[1], in_channels=x.shape[1], **arguments), x


def outputs(key: str, x: Tensor) -> tuple[int, ...]:
    """Shape of what the small form gives for images ``x``."""
    return tuple(x.shape) if MODELS[key.split()[0]].task == "restoration" else (len(x), CLASSES)


def dtypes_under_autocast(key: str) -> tuple[torch.dtype, ...]:
    """Of the outputs under bf16: a restorer that adds them to the images, which stay float32, gives float32."""
    restores = MODELS[key.split()[0]].task == "restoration"
    return (torch.bfloat16, torch.float32) if restores else (torch.bfloat16,)


def randomise(model: nn.Module) -> nn.Module:
    """Fill a model made on the meta device with weights that keep signals in range, BN statistics included."""
    model.to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                tensor.zero_()
            elif "running_var" in name:
                tensor.uniform_(0.5, 1.5)
            elif tensor.dim() > 1:
                bound = (3 / tensor[0].numel()) ** 0.5
                tensor.uniform_(-bound, bound)
            else:
                tensor.uniform_(-0.5, 0.5)
                if name.endswith("weight"):
                    tensor += 1
    return model


@pytest.fixture
def registry() -> Iterator[None]:
    """Models that a test registers do not outlive it."""
    before = dict(MODELS)
    yield
    MODELS.clear()
    MODELS.update(before)
