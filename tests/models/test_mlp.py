from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models import get_model


def kinds(model: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in model.classifier]


def test_hidden_sizes_dropout_and_batch_norm_are_arguments() -> None:
    model = get_model("mlp", 3, 3, image_size=4, hidden=[8, 5], dropout=0.3, batch_norm=True, activation="tanh")
    assert kinds(model) == ["Linear", "BatchNorm1d", "Tanh", "Dropout"] * 2 + ["Linear"]
    assert [m.out_features for m in model.classifier if isinstance(m, nn.Linear)] == [8, 5, 3]
    assert {m.p for m in model.classifier if isinstance(m, nn.Dropout)} == {0.3}
    assert kinds(get_model("mlp", hidden=[])) == ["Linear"]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 1, 20, 20), "MLP cannot take 20x20 images.*built for 28x28: set `data.image_size=28`, or "),
        (torch.zeros(2, 3, 28, 28), "MLP was built for 1 input channels, got 3: set `data.channels=1`"),
    ],
)
def test_images_that_do_not_fit_are_named(x: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        get_model("mlp", 10, 1)(x)


def test_arguments_of_hidden_layers_are_refused_without_any() -> None:
    with pytest.raises(UserError, match=r"mlp: dropout must not be given: it has no hidden layers, got 0\.5"):
        get_model("mlp", hidden=[], dropout=0.5)


def test_there_is_no_convolution_to_write_out() -> None:
    with pytest.raises(UserError, match="mlp: conv must not be given: it has no convolutions, got 'hand'"):
        get_model("mlp", conv="hand")
