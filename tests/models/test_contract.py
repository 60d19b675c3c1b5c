"""What every architecture must do: train, evaluate, autocast, channels_last, compile, export."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lit_cnn.models import MODELS

from .helpers import CLASSES, SMALL, small


def logits_of(out: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return out if isinstance(out, tuple) else (out,)


def test_every_class_of_model_is_among_the_small_ones() -> None:
    def cls(factory: object) -> object:
        return factory.func if isinstance(factory, partial) else factory

    assert {cls(MODELS[key.split()[0]].factory) for key in SMALL} == {cls(row.factory) for row in MODELS.values()}


@pytest.mark.parametrize("name", list(SMALL))
def test_training_gives_every_trainable_parameter_a_finite_gradient_and_eval_gives_logits_only(name: str) -> None:
    model, x = small(name)
    outputs = logits_of(model.train()(x))
    sum(out.square().mean() for out in outputs).backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
    model.eval()
    with torch.inference_mode():
        out = model(x)
        assert isinstance(out, Tensor)
        assert out.shape == (4, CLASSES)
        assert torch.equal(out, model(x))


@pytest.mark.parametrize("name", list(SMALL))
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
    assert low.dtype == torch.bfloat16
    # bf16 keeps 8 bits; across a deep network errors of a few of the last ones add up.
    assert (low - exact).abs().max() <= 0.1 * exact.abs().max() + 1e-3
    torch.testing.assert_close(last, exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", list(SMALL))
def test_compile_needs_no_graph_break_in_training(name: str) -> None:
    model, x = small(name)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch._dynamo.reset()
    model.train()
    for actual, expected in zip(logits_of(compiled(x)), logits_of(model(x)), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", list(SMALL))
def test_export_gives_equal_outputs(name: str) -> None:
    model, x = small(name)
    model.eval()
    exported = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        assert torch.equal(exported(x), model(x))
