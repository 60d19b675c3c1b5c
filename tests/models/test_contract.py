"""What every architecture must do: train, evaluate, autocast, channels_last, compile, export."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lit_cnn.models import MODELS, get_model
from tests.conftest import mostly_slow

from .helpers import CLASSES, SMALL, dtypes_under_autocast, outputs, small


def logits_of(out: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return out if isinstance(out, tuple) else (out,)


def backward(found: tuple[Tensor, ...], model: nn.Module) -> dict[str, Tensor]:
    """Gradients of what is learnt; each of them must be there and finite."""
    model.zero_grad()
    sum(out.float().square().mean() for out in found).backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    for key, gradient in gradients.items():
        assert gradient is not None, key
        assert gradient.isfinite().all(), key
    return gradients


def in_training_without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    return model.train()


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Nothing compiled before, and no garbage collection: with it, tracing a graph takes half as long again."""
    torch._dynamo.reset()
    gc.disable()
    yield
    gc.enable()


def compare_with_eager(compiled: Callable[[Tensor], Tensor], model: nn.Module, x: Tensor) -> None:
    """Outputs, gradients and running statistics of one training step."""
    before = {key: buffer.clone() for key, buffer in model.named_buffers()}
    results = []
    for function in (compiled, model):
        with torch.no_grad():
            for key, buffer in model.named_buffers():
                buffer.copy_(before[key])
        found = logits_of(function(x))
        gradients = {key: gradient.clone() for key, gradient in backward(found, model).items()}
        results.append((found, gradients, {key: buffer.clone() for key, buffer in model.named_buffers()}))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_every_class_of_model_is_among_the_small_ones() -> None:
    def cls(factory: object) -> object:
        return factory.func if isinstance(factory, partial) else factory

    assert {cls(MODELS[key.split()[0]].factory) for key in SMALL} == {cls(row.factory) for row in MODELS.values()}


@pytest.mark.parametrize("name", list(SMALL))
def test_training_gives_every_trainable_parameter_a_finite_gradient_and_eval_gives_logits_only(name: str) -> None:
    model, x = small(name)
    backward(logits_of(model.train()(x)), model)
    model.eval()
    with torch.inference_mode():
        out = model(x)
        assert isinstance(out, Tensor)
        assert out.shape == outputs(name, x)
        assert torch.equal(out, model(x))


@pytest.mark.parametrize("name", mostly_slow(list(SMALL), "lenet", "googlenet", "resnet20", "densenet_small"))
def test_bf16_autocast_stays_near_float_and_channels_last_nearer(name: str) -> None:
    model, x = small(name)
    model.train()
    with torch.no_grad():
        model(x)  # BN statistics of something like data
        model.eval()
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            low = model(x)
        last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert low.dtype in dtypes_under_autocast(name)
    # bf16 keeps 8 bits; across a deep network errors of a few of the last ones add up.
    assert (low - exact).abs().max() <= 0.1 * exact.abs().max() + 1e-3
    torch.testing.assert_close(last, exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", mostly_slow(list(SMALL), "lenet", "googlenet", "resnet20", "densenet_small"))
def test_a_training_step_in_bf16_and_channels_last_reaches_every_parameter_and_keeps_the_outputs(name: str) -> None:
    model, x = small(name)
    in_training_without_dropout(model)
    last = x.to(memory_format=torch.channels_last)
    autocast = torch.autocast("cpu", torch.bfloat16)
    with torch.no_grad():
        exact = logits_of(model(x))
        with autocast:
            low = logits_of(model(x))
        model.to(memory_format=torch.channels_last)
        torch.testing.assert_close(logits_of(model(last)), exact, rtol=1e-3, atol=1e-4)
    with autocast:
        found = logits_of(model(last))
    backward(found, model)
    for mine, expected in zip(found, low, strict=True):
        assert mine.dtype in dtypes_under_autocast(name)
        # Batch norms over the few values of a small map enlarge bf16's rounding, in ResNet-50 to 0.2 of the logits.
        assert (mine - expected).norm() <= 0.5 * expected.norm()


@pytest.mark.parametrize("name", mostly_slow(list(SMALL), "lenet", "resnet20"))
def test_a_compiled_training_step_is_one_graph_and_equals_the_eager_one(name: str, fresh_compiler: None) -> None:
    model, x = small(name)
    in_training_without_dropout(model)
    compare_with_eager(torch.compile(model, backend="aot_eager", fullgraph=True), model, x)


CXX = os.environ.get("CXX", "g++")  # where torch looks


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(CXX) is None, reason=f"torch.compile writes C++ and there is no compiler {CXX!r}")
def test_a_training_step_compiled_to_machine_code_equals_the_eager_one(fresh_compiler: None) -> None:
    torch.manual_seed(0)
    model = get_model("convnet_pooled", num_classes=CLASSES, widths=(8,), dilations=(1,))
    in_training_without_dropout(model)
    compare_with_eager(torch.compile(model, fullgraph=True), model, torch.randn(4, 3, 16, 16))


@pytest.mark.parametrize("name", mostly_slow(list(SMALL), "lenet", "resnet20"))
def test_export_gives_equal_outputs_for_batches_of_any_size(name: str) -> None:
    model, x = small(name)
    model.eval()
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    with torch.no_grad():
        assert torch.equal(exported(x), model(x))
        assert torch.equal(exported(x[:1]), model(x[:1]))
