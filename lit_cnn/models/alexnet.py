"""AlexNet: as published, in one stream, at half width, and for grey images.

Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks";
one stream: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from lit_cnn.models._argument_check import check_bool, check_fraction, check_int, check_ints
from lit_cnn.models._input_check import flat_features, report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.dense import dense_head
from lit_cnn.nn.init import init_weights
from lit_cnn.nn.pooling import AdaptiveAvgPool2d, LocalResponseNorm


def _local_response_norm() -> LocalResponseNorm:
    """Section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75."""
    # PyTorch divides alpha by n, the paper does not.
    return LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, k=2.0)


class AlexNet(nn.Module):
    """Five convolutions and three dense layers. Input (N, C, H, W), logits (N, K).

    Args:
        num_classes: K, number of logits.
        in_channels: channels of the image.
        image_size: side of the square input in pixels; it sets the width of the first dense layer. It has no effect
            with ``pool_to``.
        channels: filters of the five convolutions.
        hidden: width of the two hidden dense layers.
        padding: of the first convolution, 11x11 with stride 4.
        second_stride, second_padding: of the second convolution, 5x5.
        third_padding: of the last three convolutions, 3x3.
        pool_padding: of the 3x3 max-pools with stride 2.
        last_pool: the one after the last convolution.
        groups: 2 splits convolutions 2, 4 and 5 between two streams (figure 2), 1 does not.
        lrn: local response normalisation after the first two convolutions.
        lrn_after_pool: it follows the pooling, as in some textbooks, instead of the ReLU.
        pool_to: average the last map to this side, so that any size fits; ``None`` takes ``image_size`` only.
        dropout: before the hidden dense layers, or after them if not ``dropout_first``.
        dropout_first: see ``dropout``. torchvision drops before them, the paper and d2l after.
        init: see ``lit_cnn.nn.init``. ``normal`` includes the biases of section 5: 1 in convolutions 2, 4, 5 and in
            the hidden dense layers, so that their ReLUs start active.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: int = 224,
        channels: tuple[int, int, int, int, int] = (64, 192, 384, 256, 256),
        hidden: int = 4096,
        padding: int = 2,
        second_stride: int = 1,
        second_padding: int = 2,
        third_padding: int = 1,
        pool_padding: int = 0,
        last_pool: bool = True,
        groups: int = 1,
        lrn: bool = False,
        lrn_after_pool: bool = False,
        pool_to: int | None = 6,
        dropout: float = 0.5,
        dropout_first: bool = True,
        init: str = "torch",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels, image_size=image_size, hidden=hidden, groups=groups)
        check_int(second_stride=second_stride)
        check_int(0, padding=padding, second_padding=second_padding, third_padding=third_padding)
        if pool_padding not in (0, 1) or isinstance(pool_padding, bool):
            raise ValueError(f"pool_padding must be 0 or 1, got {pool_padding!r}")
        if pool_to is not None:
            check_int(pool_to=pool_to)
        check_ints(5, 5, channels=channels)
        if any(width % groups for width in channels):
            raise ValueError(f"groups must divide every one of the channels {channels}, got {groups}")
        check_fraction(dropout=dropout)
        check_bool(lrn=lrn, lrn_after_pool=lrn_after_pool, last_pool=last_pool, dropout_first=dropout_first)
        c1, c2, c3, c4, c5 = channels

        def pooled() -> list[nn.Module]:
            norm = [_local_response_norm()] if lrn else []
            pool = nn.MaxPool2d(3, 2, pool_padding)
            return [pool, *norm] if lrn_after_pool else [*norm, pool]

        # Shapes of the published network on 227 pixels.
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, c1, 11, 4, padding),  # N x 96 x 55 x 55
            nn.ReLU(inplace=True),
            *pooled(),  # N x 96 x 27 x 27
            nn.Conv2d(c1, c2, 5, second_stride, second_padding, groups=groups),  # N x 256 x 27 x 27
            nn.ReLU(inplace=True),
            *pooled(),  # N x 256 x 13 x 13
            nn.Conv2d(c2, c3, 3, padding=third_padding),  # N x 384 x 13 x 13
            nn.ReLU(inplace=True),
            nn.Conv2d(c3, c4, 3, padding=third_padding, groups=groups),  # N x 384 x 13 x 13
            nn.ReLU(inplace=True),
            nn.Conv2d(c4, c5, 3, padding=third_padding, groups=groups),  # N x 256 x 13 x 13
            nn.ReLU(inplace=True),
            *([nn.MaxPool2d(3, 2, pool_padding)] if last_pool else []),  # N x 256 x 6 x 6
        )
        self.avgpool: nn.Module
        self.unused_arguments: dict[str, str] = {}
        if not lrn:
            self.unused_arguments["lrn_after_pool"] = "it has no local response normalisation"
        if pool_to is None:
            self.image_size = image_size
            self.avgpool = nn.Identity()
            flat = flat_features(self.features, in_channels, image_size)
        else:
            self.unused_arguments["image_size"] = f"with pool_to={pool_to} it takes any size"
            self.avgpool = AdaptiveAvgPool2d(pool_to)
            flat = c5 * pool_to**2
        self.classifier = dense_head(
            flat, (hidden, hidden), num_classes, dropout=dropout, dropout_at="before" if dropout_first else "after"
        )  # fmt: skip
        init_weights(self, init)
        if init == "normal":
            convolutions = [m for m in self.features if isinstance(m, nn.Conv2d)]
            dense = [m for m in self.classifier if isinstance(m, nn.Linear)]
            for layer in (convolutions[1], convolutions[3], convolutions[4], *dense[:-1]):
                nn.init.ones_(layer.bias)  # type: ignore[arg-type]  # built with a bias

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # N x 256 x 6 x 6
        x = self.avgpool(x).flatten(1)  # N x 9216
        return self.classifier(x)  # N x K


_2012 = partial(ModelInfo, paper="Krizhevsky et al. 2012, ImageNet classification with deep CNNs, section 3", year=2012)

_MODELS: dict[str, ModelInfo] = {
    "alexnet": ModelInfo(
        AlexNet,
        paper="Krizhevsky 2014, One weird trick, arXiv 1404.5997",
        year=2014,
        parameters=61_100_840,
        source="torchvision",
        torchvision="alexnet",
    ),
    "alexnet_original": _2012(
        partial(
            AlexNet,
            image_size=227,  # the paper says 224, which does not give its 55 x 55 maps without padding
            channels=(96, 256, 384, 384, 256),
            padding=0,
            groups=2,
            lrn=True,
            pool_to=None,
            dropout_first=False,
            init="normal",
        ),
        image_size=227,
        parameters=60_965_224,
        source="Caffe model zoo, bvlc_alexnet",
    ),
    "alexnet_half": _2012(
        partial(AlexNet, channels=(48, 128, 192, 192, 128), hidden=2048, pool_to=None, init="kaiming"),
        parameters=16_630_440,
        source="layer sums",
    ),
    "alexnet_grey": _2012(
        partial(
            AlexNet, channels=(96, 256, 384, 384, 256), padding=1, pool_to=None, dropout_first=False, init="xavier"
        ),
        in_channels=1,
        num_classes=10,
        parameters=46_764_746,
        source="d2l 8.1, layer sums",
    ),
    # As printed in handwritten notes on d2l: a second convolution with stride 2, five convolutions without padding,
    # padded pools, and 6,400 values for the dense layers. On d2l's 224 pixels no value is left before the last
    # convolution; on 491 to 554 pixels 256 x 5 x 5 are. third_padding=1 is the nearest that runs at 224: 256 x 3 x 3.
    "alexnet_notes": ModelInfo(
        partial(
            AlexNet,
            image_size=512,
            channels=(96, 256, 384, 256, 256),
            padding=0,
            second_stride=2,
            second_padding=0,
            third_padding=0,
            pool_padding=1,
            pool_to=None,
            dropout_first=False,
        ),
        paper="Zhang et al. 2021, Dive into deep learning, arXiv 2106.11342, section 8.1, in handwritten notes",
        year=2021,
        image_size=512,
        in_channels=1,
        num_classes=10,
        parameters=46_027_338,
        source="layer sums",
    ),
}

add_models(_MODELS)
