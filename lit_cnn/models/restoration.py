"""Networks that give an image for an image of the same size: SRCNN, AOD-Net, U-Net.

Input float (N, C, H, W) in [0, 1], of any height and width; output the same shape, not clipped. ``halo`` is how far, in
pixels, an output pixel sees, and ``multiple`` what a window of the image must begin at a multiple of to be restored as
in the whole image: see :mod:`lit_cnn.tasks.tiles`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.models._argument_check import check_bool, check_choice, check_int, check_ints, check_positive
from lit_cnn.models._input_check import report_input_errors
from lit_cnn.models._registry import ModelInfo, add_models
from lit_cnn.nn.init import init_weights


def _check_channels(num_classes: int, in_channels: int) -> None:
    check_int(num_classes=num_classes, in_channels=in_channels)
    if num_classes != in_channels:
        raise ValueError(f"num_classes must equal in_channels, which is {in_channels}, got {num_classes}")


class SRCNN(nn.Module):
    """Three convolutions. Input and output (N, C, H, W).

    Dong et al. 2014, "Image super-resolution using deep convolutional networks", arXiv 1501.00092, section 3.
    Departure: padding keeps the size, where the paper's output is smaller than its input.

    Args:
        num_classes: channels of the output, those of the input.
        in_channels: C, channels of the image.
        widths: filters of the first two convolutions.
        kernels: sides of the three kernels, odd. The paper's are 9, 1, 5.
        residual: add the input to the output.
        init: see ``lit_cnn.nn.init``.
    """

    multiple = 1

    def __init__(
        self,
        num_classes: int = 3,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 32),
        kernels: Sequence[int] = (9, 1, 5),
        residual: bool = False,
        init: str = "torch",
    ) -> None:
        super().__init__()
        _check_channels(num_classes, in_channels)
        check_ints(2, 2, widths=widths)
        check_ints(3, 3, kernels=kernels)
        check_bool(residual=residual)
        if even := [side for side in kernels if side % 2 == 0]:
            raise ValueError(f"kernels must be odd, got {even[0]}")
        self.residual, self.halo = residual, sum(side // 2 for side in kernels)
        first, second = widths
        self.conv1 = nn.Conv2d(in_channels, first, kernels[0], padding=kernels[0] // 2)  # patches
        self.conv2 = nn.Conv2d(first, second, kernels[1], padding=kernels[1] // 2)  # non-linear mapping
        self.conv3 = nn.Conv2d(second, in_channels, kernels[2], padding=kernels[2] // 2)  # reconstruction
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(x))  # N x 64 x H x W
        y = F.relu(self.conv2(y))  # N x 32 x H x W
        y = self.conv3(y)  # N x C x H x W
        return x + y if self.residual else y


class AODNet(nn.Module):
    """All-in-one dehazing: five convolutions estimate K(x), and the clear image is K(x) x - K(x) + b.

    Li et al. 2017, "AOD-Net: all-in-one dehazing network", ICCV, sections 3.1 and 3.2: transmission and atmospheric
    light of the scattering model are one map K. Input and output (N, C, H, W). Departure: no ReLU on the output, as
    there would be no gradient below 0; whoever shows it clips it.

    Args:
        num_classes: channels of the output, those of the input.
        in_channels: C, channels of the image.
        width: filters of each convolution but the last.
        b: the constant of the formula.
        init: see ``lit_cnn.nn.init``.
    """

    multiple, halo = 1, 7  # half of 1 + 3 + 5 + 7 + 3, rounded down each

    def __init__(
        self, num_classes: int = 3, in_channels: int = 3, width: int = 3, b: float = 1.0, init: str = "torch"
    ) -> None:
        super().__init__()
        _check_channels(num_classes, in_channels)
        check_int(width=width)
        check_positive(b=b)
        self.b = float(b)
        self.conv1 = nn.Conv2d(in_channels, width, 1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * width, width, 5, padding=2)
        self.conv4 = nn.Conv2d(2 * width, width, 7, padding=3)
        self.conv5 = nn.Conv2d(4 * width, in_channels, 3, padding=1)
        init_weights(self, init)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        x1 = F.relu(self.conv1(x))  # N x 3 x H x W, as all that follow
        x2 = F.relu(self.conv2(x1))
        x3 = F.relu(self.conv3(torch.cat((x1, x2), 1)))
        x4 = F.relu(self.conv4(torch.cat((x2, x3), 1)))
        k = F.relu(self.conv5(torch.cat((x1, x2, x3, x4), 1)))
        return k * x - k + self.b


def _double_conv(in_channels: int, out_channels: int, norm: bool) -> nn.Sequential:
    """Two 3x3 convolutions, each with BN and ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=1, bias=not norm))
        layers += [nn.BatchNorm2d(out_channels)] * norm + [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UpBlock(nn.Module):
    """Twice the size, by one of three ways, then the maps of the encoder beside, then two convolutions.

    Args:
        in_channels: of the smaller map.
        out_channels: of the result, and of the encoder's maps.
        upsampling: see ``UNet``.
        norm: with BN.
    """

    def __init__(self, in_channels: int, out_channels: int, upsampling: str, norm: bool) -> None:
        super().__init__()
        self.upsampling = upsampling
        if upsampling == "transposed":
            self.up: nn.Module = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        else:
            self.up = nn.Conv2d(in_channels, out_channels, 1)
        self.conv = _double_conv(2 * out_channels, out_channels, norm)

    def forward(self, x: Tensor, skip: Tensor, places: Tensor) -> Tensor:
        """``x`` (N, 2w, H, W), ``skip`` (N, w, 2H, 2W), and where its maxima were, int64 (N, w, H, W)."""
        x = self.up(x)
        if self.upsampling == "bilinear":  # after the 1x1 convolution, with which it commutes: a quarter of the work
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        elif self.upsampling == "unpooling":
            x = F.max_unpool2d(x, places, (2, 2))
        return self.conv(torch.cat((skip, x), 1))


def _unet_halo(depth: int) -> int:
    """How far an output pixel of a U-Net sees, followed from the output back to the input."""
    reach = 1  # of the last convolution
    for _ in range(depth):
        reach = -(-(reach + 2) // 2) + 1  # two convolutions, half the size, and the neighbours of an interpolation
    reach += 2
    for _ in range(depth):
        reach = 2 * reach + 1 + 2  # a pool, then two convolutions
    return reach


class UNet(nn.Module):
    """U-Net with a residual output. Input and output (N, C, H, W), of any size: padded inside, and cut.

    Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks for biomedical image segmentation", arXiv
    1505.04597, section 2. Departures: padding keeps the size, BN, fewer filters, and the input is added to the output.
    The last convolution begins at 0, so that an untrained network gives the image it was given.

    Args:
        num_classes: channels of the output, those of the input.
        in_channels: C, channels of the image.
        widths: filters at full size and after each halving; a 2x2 max-pool lies between two of them.
        upsampling: of the way back: ``transposed`` (2x2 transposed convolution), ``bilinear`` (a 1x1 convolution, then
            interpolation), or ``unpooling`` (a 1x1 convolution, then max-unpooling: values go where the maxima of the
            way down were, Noh et al. 2015, arXiv 1505.04366, section 3.2.1).
        norm: BN after each 3x3 convolution.
        residual: add the input to the output.
        init: see ``lit_cnn.nn.init``; of all layers but the last.
    """

    def __init__(
        self,
        num_classes: int = 3,
        in_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64, 128),
        upsampling: str = "transposed",
        norm: bool = True,
        residual: bool = True,
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        _check_channels(num_classes, in_channels)
        check_ints(1, widths=widths)
        check_choice(("transposed", "bilinear", "unpooling"), upsampling=upsampling)
        check_bool(norm=norm, residual=residual)
        self.residual, depth = residual, len(widths) - 1
        self.multiple = 2**depth
        self.halo = _unet_halo(depth)
        inputs = (in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(_double_conv(i, w, norm) for i, w in zip(inputs, widths, strict=True))
        self.decoder = nn.ModuleList(
            UpBlock(widths[level + 1], widths[level], upsampling, norm) for level in reversed(range(depth))
        )
        self.head = nn.Conv2d(widths[0], in_channels, 3, padding=1)
        init_weights(self, init)
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    @report_input_errors
    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # The border pixels are repeated up to whole windows of the deepest pool: any number of them, unlike mirroring.
        y = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        skips: list[tuple[Tensor, Tensor]] = []
        for level, block in enumerate(self.encoder):
            y = block(y)  # N x 16 x H x W, N x 32 x H / 2 x W / 2, N x 64 x H / 4 x W / 4, N x 128 x H / 8 x W / 8
            if level < len(self.decoder):
                pooled, places = F.max_pool2d(y, 2, return_indices=True)
                skips.append((y, places))
                y = pooled
        for block in self.decoder:
            y = block(y, *skips.pop())  # N x 64 x H / 4 x W / 4, N x 32 x H / 2 x W / 2, N x 16 x H x W
        y = self.head(y)[..., :height, :width]  # N x C x H x W
        return x + y if self.residual else y


_MODELS: dict[str, ModelInfo] = {
    "srcnn": ModelInfo(
        SRCNN,
        paper="Dong et al. 2014, Image super-resolution using deep convolutional networks, arXiv 1501.00092",
        year=2014,
        num_classes=3,
        parameters=20_099,
        source="layer sums",
        task="restoration",
    ),
    "aodnet": ModelInfo(
        AODNet,
        paper="Li et al. 2017, AOD-Net: all-in-one dehazing network, ICCV",
        year=2017,
        num_classes=3,
        parameters=1_761,
        source="layer sums",
        task="restoration",
    ),
    "unet": ModelInfo(
        UNet,
        paper="after Ronneberger et al. 2015, U-Net, arXiv 1505.04597",
        year=2015,
        num_classes=3,
        parameters=483_155,
        source="layer sums",
        task="restoration",
    ),
}

add_models(_MODELS)
