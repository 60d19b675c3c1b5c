"""Gradient scaling of float16: steps that the scaler skips leave no trace. On the CPU, whose scaler works alike."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn

from lit_cnn.data import Digits
from lit_cnn.optim.factory import build_optimizer
from lit_cnn.tasks.classification import ImageClassifier
from tests.callbacks.tiny_run import tiny_trainer

OVERFLOWS = 2e37  # a scale at which the gradients here are infinite; at half of it they are not


@pytest.fixture
def dirty_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is not initialized holds large numbers."""
    real = torch.empty_like

    def empty_like(*args, **kwargs) -> Tensor:
        made = real(*args, **kwargs)
        return made.fill_(1e30) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty_like", empty_like)


def updated(name: str, args: dict, scale: float, steps: int) -> Tensor:
    """Weights, float32 (5,), after ``steps`` updates."""
    weight = nn.Parameter(torch.tensor([1.0, -0.5, 0.25, 0.0, -0.0]))
    net = nn.Module()
    net.weight = weight
    optimizer = build_optimizer(net, name, 0.1, 0.0, args, True, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    gradient = torch.tensor([0.0, -10.0, 20.0, 30.0, -0.0])
    for _ in range(steps):
        optimizer.zero_grad()
        scaler.scale((weight * gradient).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    return weight.detach()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad"])
def test_the_update_after_a_skipped_first_step_is_a_first_update(name, dirty_memory):
    assert torch.equal(updated(name, {}, OVERFLOWS, steps=2), updated(name, {}, OVERFLOWS / 2, steps=1))


@pytest.mark.parametrize("args", [{}, {"nesterov": False}, {"momentum": 0.0}, {"maximize": True}])
def test_where_nothing_is_skipped_the_bits_are_those_without_presets(args, monkeypatch):
    preset = updated("sgd", args, 1024.0, steps=3)
    monkeypatch.setattr("lit_cnn.optim.factory._preset_momentum", lambda *args: None)
    plain = updated("sgd", args, 1024.0, steps=3)
    assert torch.equal(preset.view(torch.int32), plain.view(torch.int32))


def test_parameters_that_join_later_have_their_first_step_skipped_too(dirty_memory):
    net = nn.ParameterList([torch.ones(3)])
    optimizer = build_optimizer(net, "sgd", 0.1, 0.0, {}, True, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    late = nn.Parameter(torch.ones(3))
    for step in range(4):
        if step == 1:  # as a callback that unfreezes layers
            optimizer.add_param_group({"params": [late]})
        optimizer.zero_grad()
        loss = net[0].sum() + late.sum() * (float("inf") if step == 1 else 1.0)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert late.detach().abs().max() < 2


@pytest.mark.parametrize("args", [{}, {"dampening": 0.5, "nesterov": False}])
def test_float16_trains_with_the_default_optimizer_after_a_skipped_step(args, dirty_memory):
    torch.manual_seed(0)
    task = ImageClassifier(10, 1, "lenet", lr=0.01, lr_scheduler="constant", optimizer_args=args)
    before = {name: value.clone() for name, value in task.backbone.state_dict().items()}
    scaler = torch.amp.GradScaler("cpu", init_scale=1e38, backoff_factor=1e-35)  # skips one step
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    trainer = tiny_trainer(max_epochs=-1, max_steps=3, limit_val_batches=0, plugins=[plugin])
    trainer.fit(task, datamodule=Digits(batch_size=128))
    for name, value in task.backbone.state_dict().items():
        assert 0 < (value - before[name]).abs().max() < 1, name
