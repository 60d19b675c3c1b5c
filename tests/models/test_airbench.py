from __future__ import annotations

import torch

from lit_cnn.models import get_model


def test_the_first_layer_is_computed_from_data_has_no_gradient_and_survives_a_checkpoint() -> None:
    torch.manual_seed(0)
    images = torch.randn(64, 3, 32, 32)
    model = get_model("speednet", num_classes=10)
    model.init_from_data(images)
    out = model.whiten(images)
    torch.testing.assert_close(out.square().mean((0, 2, 3)), torch.ones(24), atol=0.02, rtol=0)
    assert not model.whiten.weight.requires_grad
    copy = get_model("speednet", num_classes=10)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.eval()(images), model.eval()(images))


def test_convolutions_start_as_the_identity_on_their_first_outputs() -> None:
    block = get_model("speednet").blocks[0]
    x = torch.randn(1, 24, 8, 8)
    torch.testing.assert_close(block.conv1(x)[:, :24], x)


def test_logits_are_scaled_by_a_ninth_and_bn_scales_do_not_train() -> None:
    model, x = get_model("speednet").eval(), torch.randn(2, 3, 32, 32)
    scaled = model(x)
    model.scale = 1.0
    torch.testing.assert_close(scaled * 9, model(x))
    assert not model.blocks[0].norm1.weight.requires_grad
    assert model.blocks[0].norm1.bias.requires_grad


def test_other_sizes_and_grey_images_go_in() -> None:
    assert get_model("speednet", num_classes=4, in_channels=1)(torch.zeros(2, 1, 28, 28)).shape == (2, 4)
