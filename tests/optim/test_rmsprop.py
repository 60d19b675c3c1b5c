import math

import pytest
import torch

from lit_cnn.errors import UserError
from lit_cnn.optim.factory import build_optimizer, default_lr, optimizer_class
from lit_cnn.optim.rmsprop import KerasRMSprop

GRADIENTS = [[1.0, 1e-4, 0.0], [-0.5, 1e-4, 2e-6], [0.25, -3e-4, 0.0]]


def trained(optimizer_of, gradients=GRADIENTS):
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = optimizer_of([weight])
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    return weight.detach().tolist()


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.5, 0.1)])
def test_updates_are_those_of_keras(momentum, decay):
    # keras/src/optimizers/rmsprop.py, one number after another; epsilon is inside the root
    expected = []
    for column in zip(*GRADIENTS, strict=True):
        weight, mean, velocity = 1.0, 0.0, 0.0
        for gradient in column:
            weight -= weight * decay * 0.001
            mean = 0.9 * mean + 0.1 * gradient**2
            velocity = momentum * velocity + 0.001 * gradient / math.sqrt(mean + 1e-7)
            weight -= velocity
        expected.append(weight)
    got = trained(lambda weights: KerasRMSprop(weights, momentum=momentum, weight_decay=decay))
    assert got == pytest.approx(expected, rel=1e-12)


def test_torchs_with_the_same_numbers_moves_weights_of_small_gradients_further():
    keras = trained(lambda weights: KerasRMSprop(weights))
    torchs = trained(lambda weights: torch.optim.RMSprop(weights, lr=0.001, alpha=0.9, eps=1e-7))
    assert torchs[0] == pytest.approx(keras[0], abs=1e-6)
    # the second one's gradients are of 1e-4, a third of sqrt(1e-7)
    assert abs(torchs[1] - 1) > 3 * abs(keras[1] - 1)


def test_it_is_built_by_name_with_keras_defaults():
    assert optimizer_class("KerasRMSprop") is KerasRMSprop
    assert default_lr("keras_rmsprop") == 0.001
    net = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(net, "keras_rmsprop", 0.001, 0.0, {}, True)
    assert {k: optimizer.defaults[k] for k in ("rho", "eps", "momentum")} == {"rho": 0.9, "eps": 1e-7, "momentum": 0.0}


@pytest.mark.parametrize(("args", "message"), [({"rho": 1.0}, "rho must be in"), ({"eps": -1.0}, "eps must not be")])
def test_settings_out_of_range_are_refused(args, message):
    with pytest.raises(UserError, match=message):
        build_optimizer(torch.nn.Linear(2, 2), "keras_rmsprop", 0.001, 0.0, args, True)


def test_state_goes_through_a_state_dict_bit_for_bit():
    def steps(optimizer, weight, gradients):
        for gradient in gradients:
            weight.grad = torch.tensor(gradient)
            optimizer.step()

    whole = torch.nn.Parameter(torch.ones(3))
    steps(KerasRMSprop([whole], momentum=0.9), whole, GRADIENTS)
    first = torch.nn.Parameter(torch.ones(3))
    before = KerasRMSprop([first], momentum=0.9)
    steps(before, first, GRADIENTS[:2])
    second = torch.nn.Parameter(first.detach().clone())
    after = KerasRMSprop([second], momentum=0.9)
    after.load_state_dict(before.state_dict())
    steps(after, second, GRADIENTS[2:])
    assert torch.equal(whole, second)
