from __future__ import annotations

import pytest

from lit_cnn.models._pretrained_statistics import pretrained_statistics

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALF = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("timm/tf_efficientnet_lite0", HALF),
        ("timm/vit_base_patch16_224", HALF),
        ("timm/resnet50", IMAGENET),
        ("timm/resnet50.a1_in1k", IMAGENET),
        ("torchvision/resnet50", IMAGENET),
        ("resnet50", None),
        ("timm/nonesuch", None),
        ("torchvision/nonesuch", None),
    ],
)
def test_mean_and_std_are_those_published_with_the_weights(name, expected):
    assert pretrained_statistics(name, 3) == expected


def test_other_numbers_of_channels_get_the_averages_over_the_colours():
    mean, std = pretrained_statistics("torchvision/resnet50", 1)
    assert mean == [pytest.approx(0.449, abs=1e-6)]
    assert std == [pytest.approx(0.226, abs=1e-6)]
    assert pretrained_statistics("timm/tf_efficientnet_lite0", 4) == ([0.5] * 4, [0.5] * 4)
