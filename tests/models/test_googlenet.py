from __future__ import annotations

import torch
from torch import nn

from lit_cnn.models import get_model


def build(**arguments: object) -> nn.Module:
    with torch.device("meta"):
        return get_model("googlenet", **arguments)


def test_the_third_branch_is_a_true_5x5() -> None:
    model = build()
    inceptions = [m for name, m in model.named_children() if name.startswith("inception")]
    assert len(inceptions) == 9
    assert {m.branch3[1].conv.kernel_size for m in inceptions} == {(5, 5)}


def test_maps_on_224_pixels_are_those_of_table_1() -> None:
    model, seen = build(), {}
    for name, module in model.named_children():
        module.register_forward_hook(lambda m, i, out, name=name: seen.update({name: tuple(out.shape[1:])}))
    model.train()(torch.empty(1, 3, 224, 224, device="meta"))
    assert seen["maxpool1"] == (64, 56, 56)
    assert seen["maxpool2"] == (192, 28, 28)
    assert seen["inception3b"] == (480, 28, 28)
    assert seen["inception4a"] == (512, 14, 14)
    assert seen["inception4d"] == (528, 14, 14)
    assert seen["inception4e"] == (832, 14, 14)
    assert seen["inception5b"] == (1024, 7, 7)


def test_batch_norm_is_a_switch_and_takes_the_biases_with_it() -> None:
    assert not any(isinstance(m, nn.BatchNorm2d) for m in build().modules())
    convolutions = [m for m in build(batch_norm=True).modules() if isinstance(m, nn.Conv2d)]
    assert all(m.bias is None for m in convolutions)


def test_heads_pool_14x14_maps_as_published_5x5_stride_3() -> None:
    torch.manual_seed(0)
    head = get_model("googlenet", num_classes=5).aux1.eval()
    x = torch.rand(2, 512, 14, 14)
    pooled = nn.functional.avg_pool2d(x, 5, 3)
    hidden = nn.functional.relu(head.fc1(nn.functional.relu(head.conv.conv(pooled)).flatten(1)))
    assert torch.equal(head(x), head.fc2(hidden))


def test_dropout_is_04_before_the_head_and_05_in_the_auxiliary_ones() -> None:
    model = build()
    assert [m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5, 0.4]
