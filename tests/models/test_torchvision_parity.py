from __future__ import annotations

import pytest
import torch
import torchvision.models

from lit_cnn.models import MODELS, get_model
from tests.conftest import mostly_slow

from .helpers import randomise


@pytest.mark.parametrize(
    "name", mostly_slow([name for name, row in MODELS.items() if row.torchvision], "alexnet", "resnet18")
)
def test_random_weights_moved_over_strictly_give_bit_equal_outputs(name: str) -> None:
    torch.manual_seed(0)
    with torch.device("meta"):
        twin = torchvision.models.get_model(MODELS[name].torchvision, weights=None, num_classes=5)
        model = get_model(name, num_classes=5)
    state = randomise(twin).state_dict()
    model.load_state_dict(state, strict=True, assign=True)
    x = torch.randn(2, 3, 71, 64)
    with torch.inference_mode():
        expected = twin.eval()(x)
        actual = model.eval()(x)
    assert expected.std() > 1e-3
    assert torch.equal(actual, expected)
