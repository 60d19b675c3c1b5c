from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from lit_cnn.models import get_model


def test_there_is_no_dense_layer() -> None:
    for name in ("nin", "nin_imagenet"):
        with torch.device("meta"):
            assert not any(isinstance(m, nn.Linear) for m in get_model(name).modules())


def signal(**arguments: object) -> tuple[float, float]:
    """Spread of the logits over classes and images at the start, and the size of the first layer's gradient."""
    torch.manual_seed(0)
    model = get_model("nin", num_classes=10, **arguments)
    out = model(torch.randn(8, 3, 16, 16))
    F.cross_entropy(out, torch.arange(8)).backward()
    return out.std().item(), model.features[0].weight.grad.norm().item()


def test_the_default_initialisation_lets_signal_and_gradient_through_where_the_narrow_normal_kills_both() -> None:
    logits, gradient = signal()
    assert logits > 0.1
    assert gradient > 0.1
    logits, gradient = signal(init="normal")
    assert logits < 1e-6
    assert gradient < 1e-6


def test_logits_can_be_negative_unless_the_final_relu_is_asked_for() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 3, 16, 16)
    assert get_model("nin", num_classes=10).eval()(x).min() < 0
    assert get_model("nin", num_classes=10, final_relu=True).eval()(x).min() >= 0


def test_a_few_steps_lower_the_loss_well_below_that_of_guessing() -> None:
    torch.manual_seed(0)
    model = get_model("nin", num_classes=4, dropout=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    target = torch.arange(16) % 4
    x = torch.randn(16, 3, 8, 8) * 0.5 + F.one_hot(target, 4)[:, :3, None, None] * 2.0
    for _ in range(15):
        loss = F.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5  # guessing: ln 4 = 1.39
