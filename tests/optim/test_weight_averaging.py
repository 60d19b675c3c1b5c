from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lit_cnn.optim.weight_averaging import EMAModel, WeightEMA
from tests.fake_cuda import CUDA, fake_cuda

CPU = torch.device("cpu")


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 2).double())


def changed(net, step):
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            tensor.add_(torch.rand(tensor.shape, generator=generator).to(tensor.dtype))


def test_the_average_has_the_bits_of_torchs_own_model():
    net = network()
    ours = EMAModel(net, CPU, 0.9)
    theirs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for step in range(4):
        changed(net, step)
        ours.update_parameters(net)
        theirs.update_parameters(net)
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), (step, name)


def test_the_count_is_stored_and_restored():
    net = network()
    first, second = EMAModel(net, CPU, 0.9), EMAModel(network(1), CPU, 0.9)
    for step in range(3):
        changed(net, step)
        first.update_parameters(net)
    state = {name: value.clone() for name, value in first.state_dict().items()}
    assert int(state["n_averaged"]) == 3
    second.load_state_dict(state)
    assert second.count == 3
    changed(net, 9)
    for model in (first, second):
        model.update_parameters(net)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_average_is_kept_where_the_run_trains_and_is_updated_without_a_wait():
    module = LightningModule()
    module.layer = nn.Linear(2, 2)
    callback = WeightEMA(0.9)
    with fake_cuda() as counter:
        # the module is still on the CPU then
        callback.setup(SimpleNamespace(strategy=SimpleNamespace(root_device=CUDA)), module, "fit")
        average = callback._average_model
        assert {p.device for p in average.parameters()} == {CUDA}
        module.to(CUDA)
        counter.copies.clear()
        for _ in range(3):
            average.update_parameters(module)
        assert (counter.reads, counter.copies) == ([], [])
        assert average.count == 3


def test_checkpoints_know_it_by_the_name_of_lightnings_class():
    assert WeightEMA(0.9).state_key == WeightAveraging().state_key


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_evaluations_average_nothing(stage):
    callback = WeightEMA(0.9)
    callback.setup(SimpleNamespace(), LightningModule(), stage)
    assert callback._average_model is None
