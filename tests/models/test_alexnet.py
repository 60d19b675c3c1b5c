from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_cnn.models import get_model


def build(name: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return get_model(name, **arguments)


def shapes(model: nn.Module, x: Tensor, kinds: tuple[type, ...]) -> list[tuple[int, ...]]:
    seen = []
    for layer in model.features:
        x = layer(x)
        if isinstance(layer, kinds):
            seen.append(tuple(x.shape[1:]))
    return seen


def test_maps_of_the_original_on_227_pixels_are_the_papers() -> None:
    model, x = build("alexnet_original"), torch.empty(1, 3, 227, 227, device="meta")
    assert shapes(model, x, (nn.Conv2d,)) == [
        (96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13),
    ]  # fmt: skip
    assert shapes(model, x, (nn.MaxPool2d,)) == [(96, 27, 27), (256, 13, 13), (256, 6, 6)]
    assert [m.groups for m in model.features if isinstance(m, nn.Conv2d)] == [1, 2, 1, 2, 2]


def test_local_response_norm_is_the_papers_formula() -> None:
    norm = next(m for m in build("alexnet_original").features if isinstance(m, nn.LocalResponseNorm))
    a = torch.randn(2, 9, 4, 4) * 30
    expected = torch.empty_like(a)
    for i in range(9):
        near = a[:, max(0, i - 2) : i + 3]
        expected[:, i] = a[:, i] / (2 + 1e-4 * near.square().sum(1)) ** 0.75
    torch.testing.assert_close(norm(a), expected)


def test_original_initialisation_sets_the_biases_of_section_5() -> None:
    torch.manual_seed(0)
    model = get_model("alexnet_original", num_classes=5, hidden=16, image_size=67)
    biases = {name: p for name, p in model.named_parameters() if name.endswith("bias")}
    ones = [name for name, bias in biases.items() if (bias == 1).all()]
    zeros = [name for name, bias in biases.items() if (bias == 0).all()]
    convolutions = [f"features.{i}.bias" for i, m in enumerate(model.features) if isinstance(m, nn.Conv2d)]
    assert ones == [convolutions[i] for i in (1, 3, 4)] + ["classifier.0.bias", "classifier.3.bias"]
    assert zeros == [convolutions[0], convolutions[2], "classifier.6.bias"]
    assert abs(model.features[4].weight.std().item() - 0.01) < 2e-4


def test_half_width_and_grey_forms() -> None:
    half = build("alexnet_half")
    assert [m.out_channels for m in half.features if isinstance(m, nn.Conv2d)] == [48, 128, 192, 192, 128]
    assert [m.out_features for m in half.classifier if isinstance(m, nn.Linear)] == [2048, 2048, 1000]
    assert shapes(half, torch.empty(1, 3, 224, 224, device="meta"), (nn.MaxPool2d,))[-1] == (128, 6, 6)
    grey = build("alexnet_grey", in_channels=1, num_classes=10)
    assert shapes(grey, torch.empty(1, 1, 224, 224, device="meta"), (nn.MaxPool2d,))[-1] == (256, 5, 5)
