"""The small convolutional network of TensorFlow's image tutorial ("Convolutional Neural Network (CNN)")."""

from __future__ import annotations

from torch import Tensor, nn

from lit_cnn.models._argument_check import check_int
from lit_cnn.models._input_check import flat_features, report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.init import init_weights


class MnistCNN(nn.Module):
    """Three 3x3 convolutions without padding, 32-64-64, and a dense layer of 64. Input (N, C, image_size, image_size).

    Args:
        num_classes: K, number of logits.
        in_channels: 1 for grey, 3 for colour.
        image_size: side of the square input in pixels; it sets the width of the first dense layer.
        init: see ``lit_cnn.nn.init``; Xavier is the tutorial's (Keras' default).
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28, init: str = "xavier") -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels, image_size=image_size)
        self.image_size = image_size
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 32, 3),  # N x 32 x 26 x 26
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),  # N x 32 x 13 x 13
            nn.Conv2d(32, 64, 3),  # N x 64 x 11 x 11
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),  # N x 64 x 5 x 5
            nn.Conv2d(64, 64, 3),  # N x 64 x 3 x 3
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Sequential(
            nn.Linear(flat_features(self.features, in_channels, image_size), 64),
            nn.ReLU(inplace=True),
            nn.Linear(64, num_classes),
        )
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1)  # N x 576
        return self.classifier(x)  # N x K


_MODELS: dict[str, ModelInfo] = {
    "mnist_cnn": ModelInfo(
        MnistCNN,
        paper="TensorFlow tutorials, Convolutional Neural Network (CNN)",
        year=2019,
        image_size=28,
        in_channels=1,
        num_classes=10,
        parameters=93_322,
        source="tutorial's summary",
    ),
}

add_models(_MODELS)
