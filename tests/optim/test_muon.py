from __future__ import annotations

import copy
import shutil

import pytest
import torch
from torch import nn

from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.optim.factory import build_optimizer
from lit_cnn.optim.muon import Muon, orthogonalize
from tests.conftest import EVERY_STEP, LENET, load, state_differences
from tests.fake_cuda import CUDA, fake_cuda


def model():
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (6, 6)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalize(matrix, 5).float()
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ found @ vh.T  # near diagonal: the same singular vectors
    assert 0.6 < inside.diag().min() <= inside.diag().max() < 1.3
    assert (inside - torch.diag(inside.diag())).abs().max() < 0.1


def test_a_cpu_without_bfloat16_iterates_in_float32_to_the_same_matrix(monkeypatch):
    matrix = torch.randn(8, 30, generator=torch.Generator().manual_seed(0))
    found = {}
    for fast in (True, False):
        monkeypatch.setattr("lit_cnn.optim.muon.has_bfloat16", lambda fast=fast: fast)
        found[fast] = orthogonalize(matrix, 5)
    assert (found[True].dtype, found[False].dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(found[True].float(), found[False], rtol=0.05, atol=0.02)


def test_filters_are_scaled_and_moved_and_the_rest_is_torchs_nesterov_sgd():
    torch.manual_seed(0)
    net, twin = model(), model()
    twin.load_state_dict(net.state_dict())
    ours = Muon(net.parameters(), lr=0.1, head_lr=0.3, bias_lr=0.2, sgd_momentum=0.8, weight_decay=0.01)
    rest = [
        {"params": [twin[3].weight], "lr": 0.3, "weight_decay": 0.01 / 0.3},
        {"params": [twin[1].weight, twin[1].bias, twin[3].bias], "lr": 0.2, "weight_decay": 0.01 / 0.2},
    ]
    theirs = torch.optim.SGD(rest, momentum=0.8, nesterov=True)
    for step in range(3):
        for p, q in zip(net.parameters(), twin.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
            q.grad = p.grad.clone()
        before = net[0].weight.detach().clone()
        ours.step()
        theirs.step()
        scaled = before * 2 / before.norm()  # sqrt of 4 filters
        moved = (net[0].weight.detach() - scaled).flatten(1) / 0.1
        assert 0.5 < torch.linalg.svdvals(moved).min() <= torch.linalg.svdvals(moved).max() < 1.4
    for p, q in zip([*net.parameters()][1:], [*twin.parameters()][1:], strict=True):
        torch.testing.assert_close(p, q)


def test_batched_updates_of_a_gpu_are_those_of_one_parameter_after_another():
    torch.manual_seed(0)
    layers = [nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(2, 8, 3), nn.Conv2d(8, 4, 1), nn.Linear(4, 3)]
    nets = [nn.ModuleList(layers), copy.deepcopy(nn.ModuleList(layers))]
    nets[1].to(memory_format=torch.channels_last)
    optimizers = [Muon([{"params": list(net.parameters())}], lr=0.1, weight_decay=0.01) for net in nets]
    for step in range(3):
        for p, q in zip(*(net.parameters() for net in nets), strict=True):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
            q.grad = p.grad.clone()
        optimizers[0].step()
        with torch.no_grad():
            for group in optimizers[1].param_groups:
                optimizers[1]._update_together(group["params"], group)
    for (name, p), q in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=name, rtol=1e-2, atol=1e-3)  # bfloat16
        assert optimizers[1].state[q]["momentum_buffer"].stride() == q.stride()


def test_a_gpu_multiplies_filters_of_one_shape_together(monkeypatch):
    calls = []
    monkeypatch.setattr("lit_cnn.optim.muon.orthogonalize", lambda m, steps: calls.append(tuple(m.shape)) or m)
    with fake_cuda() as counter:
        net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(9, 4, 2)).to(CUDA)
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        optimizer = Muon([{"params": list(net.parameters())}])
        counter.copies.clear()
        optimizer.step()
        assert (counter.reads, counter.copies) == ([], [])
    assert calls == [(3, 4, 36)]


def test_a_resumed_run_with_parts_that_stop_early_ends_with_the_same_bits(workdir):
    words = [
        *LENET, "--epochs=2", "--model.optimizer=muon", "--lr=0.1", "--model.lr_scheduler=linear",
        "--model.optimizer_args={momentum: 0.6, head_lr: 0.05, bias_lr: 0.05}", "--model.lr_stop={features.0.bias: 1}",
        "--data.augment.flip=0.5", "--data.augment.alternate_flip=true", *EVERY_STEP,
    ]  # fmt: skip
    main(["fit", *words])
    run = workdir / "lightning_logs" / "version_0"
    final = workdir / "final.ckpt"
    shutil.copy(run / "checkpoints" / "step20.ckpt", final)
    # 10 steps an epoch: the bias has stopped before step 10, and nothing moves it any more
    bias = [load(run / "checkpoints" / f"step{k}.ckpt")["state_dict"]["backbone.features.0.bias"] for k in (5, 10, 20)]
    assert not torch.equal(bias[0], bias[1])
    assert torch.equal(bias[1], bias[2])
    main(["fit", "--ckpt_path", str(run / "checkpoints" / "step7.ckpt")])
    assert state_differences(final, run / "checkpoints" / "step20.ckpt") == []


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match="no trainable parameter has 'whitten' in its name"):
        build_optimizer(model(), "sgd", 0.1, 0.0, {}, True, lr_stop={"whitten": 1})
    with pytest.raises(UserError, match="head_lr must be positive"):
        build_optimizer(model(), "muon", 0.1, 0.0, {"head_lr": 0}, True)


@pytest.mark.parametrize("settings", [{"weight_decay": -1.0}, {"steps": 0}, {"steps": 2.5}, {"lr": 0.0}])
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Muon([nn.Parameter(torch.zeros(2, 2, 3, 3))], **settings)
