from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models import get_model, model_arguments, register_model
from lit_cnn.nn.reference.conv import HandConv2d


@pytest.mark.parametrize(("name", "image"), [("lenet", (1, 28, 28)), ("resnet20", (3, 16, 16)), ("nin", (3, 16, 16))])
def test_hand_written_convolutions_start_from_the_same_draw_and_give_equal_outputs_and_gradients(
    name: str, image: tuple[int, int, int]
) -> None:
    results = []
    for conv in ("torch", "hand"):
        torch.manual_seed(0)
        model = get_model(name, 10, image[0], conv=conv, **({"dropout": 0.0} if name == "nin" else {}))
        out = model(torch.randn(4, *image))
        out.square().mean().backward()
        results.append((out.detach(), [p.grad for p in model.parameters()]))
        kinds = {type(m) for m in model.modules() if isinstance(m, nn.Conv2d)}
        assert kinds == {HandConv2d if conv == "hand" else nn.Conv2d}
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-5)


def test_a_network_with_hand_written_convolutions_has_the_same_state_dict() -> None:
    hand, usual = get_model("lenet", 10, 1, conv="hand"), get_model("lenet", 10, 1)
    usual.load_state_dict(hand.state_dict())
    assert "conv" in model_arguments("lenet")


def test_another_word_is_refused_and_networks_of_the_user_keep_their_own_argument(registry: None) -> None:
    with pytest.raises(UserError, match="lenet: conv must be torch or hand, got 'own'"):
        get_model("lenet", conv="own")

    @register_model
    def mine(num_classes: int, in_channels: int, conv: int = 3) -> nn.Module:
        return nn.Conv2d(in_channels, num_classes, conv)

    assert get_model("mine", 10, 3, conv=5).kernel_size == (5, 5)
