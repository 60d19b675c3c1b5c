from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lit_cnn.nn.reference.norm import HandBatchNorm2d, batch_norm


@pytest.mark.parametrize("momentum", [0.1, 0.3, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("track", [True, False])
def test_the_layer_equals_torchs_over_training_steps_and_in_evaluation(
    momentum: float | None, affine: bool, track: bool
) -> None:
    torch.manual_seed(0)
    arguments = {"momentum": momentum, "affine": affine, "track_running_stats": track, "eps": 1e-3}
    mine, theirs = HandBatchNorm2d(3, **arguments), nn.BatchNorm2d(3, **arguments)
    if affine:
        for parameter in mine.parameters():
            nn.init.normal_(parameter)
    theirs.load_state_dict(mine.state_dict())
    for training in (True, True, True, False):
        x = torch.randn(4, 3, 5, 6) * 3 + 2
        grads = []
        for layer in (mine, theirs):
            leaf = x.clone().requires_grad_()
            out = layer.train(training)(leaf)
            layer.zero_grad()
            (out * torch.arange(out.numel()).view(out.shape).cos()).sum().backward()
            grads.append([out.detach(), leaf.grad, *(p.grad for p in layer.parameters())])
        torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mine.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 7), (2, 3, 4, 5, 2)])
def test_the_function_takes_any_number_of_positions(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, results = torch.randn(shape, dtype=torch.float64), []
    for function in (batch_norm, F.batch_norm):
        mean, var = torch.zeros(3).double(), torch.ones(3).double()
        out = function(x, mean, var, torch.arange(3.0).double(), torch.ones(3).double(), training=True)
        results.append((out, mean, var, function(x, mean, var)))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_each_channel_has_mean_0_and_variance_1() -> None:
    out = batch_norm(torch.randn(8, 2, 9, 9) * 5 + 7, None, None, training=True)
    assert out.mean((0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(out.var((0, 2, 3), correction=0), torch.ones(2), atol=1e-4, rtol=0)


def test_one_value_a_channel_is_refused_in_training_only() -> None:
    layer = HandBatchNorm2d(3)
    with pytest.raises(ValueError, match=r"more than one value a channel, got shape \(1, 3, 1, 1\)"):
        layer(torch.ones(1, 3, 1, 1))
    assert layer.eval()(torch.ones(1, 3, 1, 1)).shape == (1, 3, 1, 1)
    with pytest.raises(ValueError, match="expected 4D input"):
        layer(torch.ones(3, 4))
