"""LeNet-5 and the variants of it that courses use.

LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition", section II.B.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from lit_cnn.models._argument_check import check_choice, check_int, check_ints
from lit_cnn.models._input_check import flat_features, report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.dense import activation_class
from lit_cnn.nn.init import init_weights

POOLS: dict[str, type[nn.Module]] = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}


class LeNet(nn.Module):
    """Two 5x5 convolutions, each pooled 2x2, then three dense layers. Input (N, C, image_size, image_size).

    Departures from the paper: C3 takes all of S2's maps (in the paper's table I only some; 60,000 parameters in all,
    here 61,706), pooling has no trainable scale and bias, the output is dense instead of radial basis functions,
    and the activation is a plain sigmoid where the paper scales a tanh.

    Args:
        num_classes: K, number of logits.
        in_channels: 1 for grey, 3 for colour.
        image_size: side of the square input in pixels; it sets the width of the first dense layer.
        channels: filters of the two convolutions.
        padding: of the first convolution. With 2, a 28-pixel image gives the same maps as the paper's 32-pixel one.
        activation: ``sigmoid``, ``tanh`` or ``relu``.
        pool: ``avg`` or ``max``.
        init: see ``lit_cnn.nn.init``. Sigmoids need Xavier; with PyTorch's own initialisation they start flat.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        channels: tuple[int, int] = (6, 16),
        padding: int = 2,
        activation: str = "sigmoid",
        pool: str = "avg",
        init: str = "xavier",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels, image_size=image_size)
        check_int(0, padding=padding)
        check_ints(2, 2, channels=channels)
        check_choice(POOLS, pool=pool)
        act, pooling = activation_class(activation), POOLS[pool]
        first, second = channels
        self.image_size = image_size
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, first, 5, padding=padding),  # C1: N x 6 x 28 x 28
            act(),
            pooling(2),  # S2: N x 6 x 14 x 14
            nn.Conv2d(first, second, 5),  # C3: N x 16 x 10 x 10
            act(),
            pooling(2),  # S4: N x 16 x 5 x 5
        )
        self.classifier = nn.Sequential(
            nn.Linear(flat_features(self.features, in_channels, image_size), 120),  # C5, a 5x5 convolution on a 5x5 map
            act(),
            nn.Linear(120, 84),  # F6
            act(),
            nn.Linear(84, num_classes),
        )
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1)  # N x 400
        return self.classifier(x)  # N x K


_row = partial(
    ModelInfo, paper="LeCun et al. 1998, Gradient-based learning applied to document recognition, II.B", year=1998
)
_colour = partial(LeNet, image_size=32, channels=(16, 32), padding=0, activation="relu", pool="max", init="torch")

_MODELS: dict[str, ModelInfo] = {
    # 156 + 2,416 + 48,120 + 10,164 + 850
    "lenet": _row(partial(LeNet), image_size=28, in_channels=1, num_classes=10, parameters=61_706, source="d2l 7.6"),
    "lenet5": _row(
        partial(LeNet, image_size=32, padding=0),
        image_size=32, in_channels=1, num_classes=10, parameters=61_706, source="layer sums",
    ),
    "lenet_maxpool": _row(
        partial(LeNet, activation="relu", pool="max", init="torch"),
        image_size=28, in_channels=1, num_classes=10, parameters=61_706, source="layer sums",
    ),
    # 1,216 + 12,832 + 96,120 + 10,164 + 850
    "lenet_color": _row(_colour, image_size=32, num_classes=10, parameters=121_182, source="layer sums"),
}  # fmt: skip

add_models(_MODELS)
