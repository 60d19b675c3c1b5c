"""Pooling with a deterministic backward pass: torch's values, and none of the operations that stop a run on CUDA."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lit_cnn.models import get_model
from lit_cnn.nn.pooling import AdaptiveAvgPool2d, LocalResponseNorm, deterministic_avg_pool2d

aten = torch.ops.aten
# operations whose backward pass torch has no deterministic form of on CUDA
NONDETERMINISTIC = {aten._adaptive_avg_pool2d, aten.avg_pool3d}


@pytest.mark.parametrize("shape", [(14, 14), (13, 13), (3, 3), (1, 1), (9, 20), (7, 5)])
@pytest.mark.parametrize("size", [(7, 7), (6, 6), (4, 4), (2, 3)])
def test_values_and_gradients_are_torchs(shape, size):
    x = torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, *size, dtype=torch.float64)
    results = []
    for pool in (F.adaptive_avg_pool2d, deterministic_avg_pool2d):
        y = pool(x, size)
        results.append((y, *torch.autograd.grad((y * weight).sum(), x)))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("size", [7, (7, 7), (7, None)])
def test_a_map_of_the_wanted_size_stays_the_same(size):
    x = torch.randn(2, 3, 7, 7)
    assert AdaptiveAvgPool2d(size)(x) is x


@pytest.mark.parametrize("size", [4, (4, 3), (None, 3), 1])
def test_elsewhere_the_bits_are_torchs(size):
    x = torch.randn(2, 8, 9, 13)
    assert torch.equal(AdaptiveAvgPool2d(size)(x), nn.AdaptiveAvgPool2d(size)(x))
    assert torch.equal(LocalResponseNorm(5, 1e-3)(x), nn.LocalResponseNorm(5, 1e-3)(x))


def test_normalizing_rows_is_normalizing_the_map():
    x = torch.randn(2, 8, 9, 13)
    norm = nn.LocalResponseNorm(5, 1e-2, k=2.0)
    torch.testing.assert_close(norm(x.flatten(2)).view(x.shape), norm(x))


class Operations(TorchDispatchMode):
    """Records the operations, on fake CUDA tensors here, which have no backward pass without a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[object] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func.overloadpacket)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vgg7", 96), ("alexnet", 160), ("alexnet_original", 227), ("googlenet", 96),
        ("torchvision/vgg11", 96), ("torchvision/alexnet", 160),
    ],
)  # fmt: skip
def test_networks_train_with_deterministic_operations_alone(name, size, deterministic):
    with FakeTensorMode(), torch.device("cuda"):
        model = get_model(name, num_classes=10)
        with Operations() as operations:
            model(torch.randn(2, 3, size, size))
    assert aten.convolution in operations.seen
    assert not operations.seen & NONDETERMINISTIC
