"""Network in network (NiN): a classifier without dense layers.

Lin, Chen and Yan 2013, "Network in network", arXiv 1312.4400, section 4 and the authors' Caffe definitions.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from lit_cnn.models._argument_check import check_bool, check_choice, check_fraction, check_int
from lit_cnn.models._input_check import report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.init import init_weights


def _mlpconv(
    in_channels: int, widths: tuple[int, int, int], kernel: int, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    """A convolution followed by two 1x1 convolutions: a small dense network applied at every position (section 3.1)."""
    first, second, third = widths
    return [
        nn.Conv2d(in_channels, first, kernel, stride, padding),
        nn.ReLU(inplace=True),
        nn.Conv2d(first, second, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(second, third, 1),
        nn.ReLU(inplace=True),
    ]


class NiN(nn.Module):
    """Mlpconv blocks, the last with one map per class, averaged to the logits. Input (N, C, H, W), logits (N, K).

    Departure: no ReLU on the class maps. With it, as in the Caffe definition and in d2l, no logit can fall below 0,
    and a class whose map is nowhere positive gets no gradient. ``final_relu=True`` adds it.

    Why its loss often stays at ln 10 = 2.303 on CIFAR-10, measured after 60 steps of 64 images, SGD 0.9, lr 0.01:
    N(0, 0.01²) and PyTorch's own initialisation are still at 2.30 with the final ReLU and without, Xavier is with it;
    Kaiming is at 2.28 with it and at 2.09 without. At lr 0.1 none is below 2.29. After 150 steps, Kaiming without it:
    1.84 at lr 0.01, 1.92 at 0.05 with 40 steps of warm-up, 1.77 with Adam at 0.001.

    Args:
        num_classes: K, number of logits.
        in_channels: channels of the image.
        form: ``cifar`` (192-160-96, 192, 192) or ``imagenet`` (96, 256, 384, K).
        dropout: between blocks, or before the last one in the ImageNet form.
        dropout2d: it drops whole maps instead of single values.
        pool: in the CIFAR form, ``mixed`` (the authors': maximum, then average, sizes rounded up) or ``max`` (twice the
            maximum, padded by one). At 32 pixels the maps are equally large.
        final_relu: see above.
        init: see ``lit_cnn.nn.init``. Kaiming, because a network without normalisation needs it: with ``normal``
            a 1x1 layer multiplies the signal by about 0.01 * sqrt(192 / 2) = 0.1, and after nine layers the
            logits of different images and classes differ by 1e-8.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        form: str = "cifar",
        dropout: float = 0.5,
        dropout2d: bool = False,
        pool: str = "mixed",
        final_relu: bool = False,
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        check_int(num_classes=num_classes, in_channels=in_channels)
        check_choice(("cifar", "imagenet"), form=form)
        check_fraction(dropout=dropout)
        check_bool(dropout2d=dropout2d, final_relu=final_relu)
        check_choice(("mixed", "max"), pool=pool)
        k = num_classes
        drop = nn.Dropout2d if dropout2d else nn.Dropout
        self.unused_arguments: dict[str, str] = {}
        if form == "cifar":
            self.features = nn.Sequential(
                *_mlpconv(in_channels, (192, 160, 96), 5, padding=2),  # N x 96 x 32 x 32
                nn.MaxPool2d(3, 2, 1) if pool == "max" else nn.MaxPool2d(3, 2, ceil_mode=True),  # N x 96 x 16 x 16
                drop(dropout),
                *_mlpconv(96, (192, 192, 192), 5, padding=2),  # N x 192 x 16 x 16
                nn.MaxPool2d(3, 2, 1) if pool == "max" else nn.AvgPool2d(3, 2, ceil_mode=True),  # N x 192 x 8 x 8
                drop(dropout),
            )
            classifier = _mlpconv(192, (192, 192, k), 3, padding=1)  # N x K x 8 x 8
        else:
            self.features = nn.Sequential(
                *_mlpconv(in_channels, (96, 96, 96), 11, stride=4),  # N x 96 x 54 x 54
                nn.MaxPool2d(3, 2),  # N x 96 x 26 x 26
                *_mlpconv(96, (256, 256, 256), 5, padding=2),  # N x 256 x 26 x 26
                nn.MaxPool2d(3, 2),  # N x 256 x 12 x 12
                *_mlpconv(256, (384, 384, 384), 3, padding=1),  # N x 384 x 12 x 12
                nn.MaxPool2d(3, 2),  # N x 384 x 5 x 5
                drop(dropout),
            )
            self.unused_arguments["pool"] = "the ImageNet form pools by maxima"
            classifier = _mlpconv(384, (k, k, k), 3, padding=1)  # N x K x 5 x 5
            self.class_layers = ("classifier.0", "classifier.2", "classifier.4")  # see _freeze.all_heads
        self.classifier = nn.Sequential(*(classifier if final_relu else classifier[:-1]))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # N x 192 x 8 x 8 or N x 384 x 5 x 5
        x = self.classifier(x)  # N x K x 8 x 8 or N x K x 5 x 5
        return self.avgpool(x).flatten(1)  # N x K


_row = partial(ModelInfo, paper="Lin et al. 2013, Network in network, arXiv 1312.4400", year=2013)

_MODELS: dict[str, ModelInfo] = {
    "nin": _row(NiN, image_size=32, num_classes=10, parameters=966_986, source="authors' Caffe model, layer sums"),
    "nin_imagenet": _row(partial(NiN, form="imagenet"), parameters=7_439_608, source="layer sums"),
}

add_models(_MODELS)
