"""Multilayer perceptron (MLP), the feed-forward baseline beside convolutional networks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lit_cnn.models._argument_check import check_bool, check_fraction, check_int, check_ints
from lit_cnn.models._input_check import flat_features, report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.dense import dense_head
from lit_cnn.nn.init import init_weights


class MLP(nn.Module):
    """Dense layers on the pixels of the image. Input (N, C, image_size, image_size), logits (N, K).

    Args:
        num_classes: K, number of logits.
        in_channels: 1 for grey, 3 for colour.
        image_size: side of the square input in pixels; it sets the width of the first layer.
        hidden: widths of the hidden layers; none leaves softmax regression.
        activation: ``relu``, ``relu6``, ``sigmoid`` or ``tanh``.
        dropout: after each hidden layer.
        batch_norm: BN between each hidden layer and its activation.
        init: see ``lit_cnn.nn.init``.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        hidden: Sequence[int] = (256,),
        activation: str = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        init: str = "torch",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels, image_size=image_size)
        check_ints(0, hidden=hidden)
        check_fraction(dropout=dropout)
        check_bool(batch_norm=batch_norm)
        self.image_size, self.in_channels = image_size, in_channels
        self.features = nn.Flatten()
        self.unused_arguments: dict[str, str] = {}
        if not hidden:
            self.unused_arguments = dict.fromkeys(("activation", "dropout", "batch_norm"), "it has no hidden layers")
        self.classifier = dense_head(
            flat_features(self.features, in_channels, image_size),
            hidden,
            num_classes,
            dropout=dropout,
            activation=activation,
            batch_norm=batch_norm,
        )
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # N x 784
        return self.classifier(x)  # N x K


_MODELS: dict[str, ModelInfo] = {
    "mlp": ModelInfo(
        MLP,
        paper="Zhang et al. 2021, Dive into deep learning, arXiv 2106.11342, section 5.2",
        year=2021,
        image_size=28,
        in_channels=1,
        num_classes=10,
        parameters=203_530,  # 200,960 + 2,570
        source="layer sums",
    ),
}

add_models(_MODELS)
