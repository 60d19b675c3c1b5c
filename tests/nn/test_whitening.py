from __future__ import annotations

import torch
import torch.nn.functional as F

from lit_cnn.nn.whitening import WhiteningConv2d


def test_outputs_on_the_data_are_uncorrelated_with_variance_1_and_come_with_both_signs() -> None:
    torch.manual_seed(0)
    smooth = F.avg_pool2d(torch.randn(60, 3, 20, 20), 3, 1)  # neighbouring pixels are alike, as in photos
    smooth[:, 1] += smooth[:, 0]
    layer = WhiteningConv2d(3, 2)
    layer.fit(smooth, eps=0.0)
    out = layer(smooth).detach().transpose(0, 1).flatten(1)
    assert out.shape[0] == 24
    torch.testing.assert_close(out[12:], -out[:12])
    torch.testing.assert_close(out[:12] @ out[:12].T / out.shape[1], torch.eye(12), atol=1e-3, rtol=0)


def test_eps_keeps_directions_without_variance_small_and_the_largest_come_first() -> None:
    images = torch.ones(4, 1, 8, 8) * torch.tensor([1.0, -1.0, 2.0, -2.0]).view(4, 1, 1, 1)
    layer = WhiteningConv2d(1, 2)
    layer.fit(images)
    out = layer(images).detach()
    assert out.isfinite().all()
    assert out[:, 0].std() > 0.9
    assert out[:, 1:4].abs().max() < 1e-3


def test_the_weight_has_no_gradient_and_the_bias_has_one() -> None:
    layer = WhiteningConv2d(3, 2)
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["bias"]
