import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.optim.factory import build_optimizer, match_memory_formats, scale_lrs


def model():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))


def build(name="sgd", lr=0.1, weight_decay=0.0, args=None, decay_norm_and_bias=True, net=None):
    return build_optimizer(net or model(), name, lr, weight_decay, args or {}, decay_norm_and_bias)


def test_sgd_preset_has_nesterov_momentum_that_arguments_override():
    assert build().defaults["momentum"] == 0.9
    assert build().defaults["nesterov"] is True
    assert build(args={"momentum": 0.5}).defaults["momentum"] == 0.5
    assert build(args={"momentum": 0.0}).defaults["nesterov"] is False


@pytest.mark.parametrize(("name", "cls"), [("adamw", "AdamW"), ("RMSprop", "RMSprop"), ("nadam", "NAdam")])
def test_any_optimizer_of_torch_is_found_by_name(name, cls):
    assert type(build(name)).__name__ == cls


def test_no_decay_on_norms_and_biases_splits_the_parameters_without_losing_any():
    net = model()
    optimizer = build(weight_decay=0.1, decay_norm_and_bias=False, net=net)
    decayed, plain = optimizer.param_groups
    assert [decayed["weight_decay"], plain["weight_decay"]] == [0.1, 0.0]
    assert {id(p) for p in decayed["params"]} == {id(net[0].weight), id(net[3].weight)}
    assert len(decayed["params"]) + len(plain["params"]) == len(list(net.parameters()))


def test_frozen_parameters_are_skipped():
    net = model()
    net[0].requires_grad_(False)
    held = [p for g in build(net=net).param_groups for p in g["params"]]
    assert all(p is not net[0].weight for p in held)
    net.requires_grad_(False)
    with pytest.raises(UserError, match=r"nothing to train: `model.freeze`, or its own code .* froze .*, Sequential"):
        build(net=net)
    with pytest.raises(UserError, match="nothing to train: the backbone has no parameters, Flatten"):
        build(net=nn.Flatten())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "sdg"}, "unknown optimizer 'sdg', did you mean 'SGD'"),
        ({"args": {"momentun": 0.9}}, "no argument 'momentun', did you mean 'momentum'"),
        ({"args": {"momentum": -1.0}}, "refused its settings"),
        ({"name": "LBFGS", "weight_decay": 0.1}, "no weight decay"),
    ],
)
def test_bad_settings_get_one_line_with_the_fix(settings, message):
    with pytest.raises(UserError, match=message) as error:
        build(**settings)
    assert "\n" not in str(error.value)


def test_restored_momentum_in_another_memory_format_gives_the_same_update():
    def updated(memory_format):
        weight = nn.Parameter(torch.arange(72.0).view(2, 4, 3, 3).to(memory_format=torch.channels_last))
        weight.grad = torch.ones_like(weight)
        optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9, fused=True)
        momentum = torch.arange(72.0).view(2, 4, 3, 3).cos()
        optimizer.state[weight] = {"momentum_buffer": momentum.to(memory_format=memory_format)}
        match_memory_formats(optimizer)
        optimizer.step()
        return weight.detach()

    assert torch.equal(updated(torch.channels_last), updated(torch.contiguous_format))


def test_updates_are_fused_where_the_class_can_and_the_arguments_say_nothing_else():
    def fused(name, **args):
        return build_optimizer(model(), name, 0.1, 0.0, args, True, fused=True).defaults.get("fused")

    assert fused("sgd") is True
    assert fused("adamw") is True
    assert fused("adamw", foreach=True) is None
    assert fused("rmsprop") is None


def test_rates_scale_but_for_those_that_are_a_share_of_the_weights():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 2))
    muon = build("muon", 0.2, args={"head_lr": 3.0, "bias_lr": 5.0}, net=net)
    scale_lrs(muon, 2.0)
    assert {group["params"][0].ndim: group["lr"] for group in muon.param_groups} == {4: 0.2, 2: 6.0, 1: 10.0}


def test_a_stop_that_is_no_later_epoch_is_refused():
    with pytest.raises(UserError, match=r"lr_stop`: '0\.bias' stops at epoch 0"):
        build_optimizer(model(), "sgd", 0.1, 0.0, {}, True, lr_stop={"0.bias": 0})
