"""Parameter counts written out layer by layer from the papers' tables, without looking at the package's code.

Bias: one number per filter, unless said otherwise. BN: a scale and a shift per channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def conv(channels: int, filters: int, kernel: int) -> int:
    """A convolution with a bias."""
    return filters * (channels * kernel * kernel + 1)


def conv_bn(channels: int, filters: int, kernel: int) -> int:
    """A convolution without a bias, then BN."""
    return filters * channels * kernel * kernel + 2 * filters


def dense(width: int, units: int) -> int:
    return units * (width + 1)


def mlpconv(channels: int, widths: tuple[int, int, int], kernel: int) -> int:
    """NiN: a convolution and two 1x1 ones."""
    first, second, third = widths
    return conv(channels, first, kernel) + conv(first, second, 1) + conv(second, third, 1)


def vgg_convolutions(stages: Sequence[Sequence[int]]) -> int:
    """3x3 convolutions on three channels; a stage is the widths of its convolutions."""
    widths = [3, *(width for stage in stages for width in stage)]
    return sum(conv(before, after, 3) for before, after in pairwise(widths))


def inception(channels: int, c1: int, r3: int, c3: int, r5: int, c5: int, pool: int) -> int:
    """GoogLeNet, figure 2b: 1x1; 1x1 and 3x3; 1x1 and 5x5; pool and 1x1."""
    return (
        conv(channels, c1, 1)
        + conv(channels, r3, 1)
        + conv(r3, c3, 3)
        + conv(channels, r5, 1)
        + conv(r5, c5, 5)
        + conv(channels, pool, 1)
    )


def googlenet(channels: int, classes: int) -> int:
    """GoogLeNet, table 1 from top to bottom, without auxiliary heads."""
    return (
        conv(channels, 64, 7)
        + conv(64, 64, 1)
        + conv(64, 192, 3)
        + inception(192, 64, 96, 128, 16, 32, 32)  # 3a, out 64 + 128 + 32 + 32 = 256
        + inception(256, 128, 128, 192, 32, 96, 64)  # 3b, out 480
        + inception(480, 192, 96, 208, 16, 48, 64)  # 4a, out 512
        + inception(512, 160, 112, 224, 24, 64, 64)  # 4b, out 512
        + inception(512, 128, 128, 256, 24, 64, 64)  # 4c, out 512
        + inception(512, 112, 144, 288, 32, 64, 64)  # 4d, out 528
        + inception(528, 256, 160, 320, 32, 128, 128)  # 4e, out 832
        + inception(832, 256, 160, 320, 32, 128, 128)  # 5a, out 832
        + inception(832, 384, 192, 384, 48, 128, 128)  # 5b, out 1024
        + dense(1024, classes)
    )


def googlenet_head(channels: int) -> int:
    """Section 5: 1x1 convolution with 128 filters on a 4x4 map, 1024 units, 1000 classes."""
    return conv(channels, 128, 1) + dense(4 * 4 * 128, 1024) + dense(1024, 1000)


# Every convolution of GoogLeNet has a BN instead of a bias: one number more for each filter. Filters of the stem, of
# the nine modules (branches and reductions), and of the two heads.
GOOGLENET_FILTERS = (
    (64 + 64 + 192)
    + (64 + 96 + 128 + 16 + 32 + 32)
    + (128 + 128 + 192 + 32 + 96 + 64)
    + (192 + 96 + 208 + 16 + 48 + 64)
    + (160 + 112 + 224 + 24 + 64 + 64)
    + (128 + 128 + 256 + 24 + 64 + 64)
    + (112 + 144 + 288 + 32 + 64 + 64)
    + (256 + 160 + 320 + 32 + 128 + 128)
    + (256 + 160 + 320 + 32 + 128 + 128)
    + (384 + 192 + 384 + 48 + 128 + 128)
    + (128 + 128)
)


def basic_stage(channels: int, width: int, blocks: int) -> int:
    """ResNet: blocks of two 3x3 convolutions, without what shortcuts have."""
    return conv_bn(channels, width, 3) + (2 * blocks - 1) * conv_bn(width, width, 3)


def bottleneck_stage(channels: int, width: int, blocks: int) -> int:
    """ResNet: blocks of 1x1, 3x3 and 1x1 to four times the width, without what shortcuts have."""
    rest = conv_bn(width, width, 3) + conv_bn(width, 4 * width, 1)
    return conv_bn(channels, width, 1) + (blocks - 1) * conv_bn(4 * width, width, 1) + blocks * rest


def plain_basic(n1: int, n2: int, n3: int, n4: int) -> int:
    """ResNet, table 1, 18 and 34 layers, shortcuts without parameters."""
    stages = basic_stage(64, 64, n1) + basic_stage(64, 128, n2) + basic_stage(128, 256, n3) + basic_stage(256, 512, n4)
    return conv_bn(3, 64, 7) + stages + dense(512, 1000)


def plain_bottleneck(n1: int, n2: int, n3: int, n4: int) -> int:
    """ResNet, table 1, 50 layers and more, shortcuts without parameters."""
    stages = (
        bottleneck_stage(64, 64, n1)
        + bottleneck_stage(256, 128, n2)
        + bottleneck_stage(512, 256, n3)
        + bottleneck_stage(1024, 512, n4)
    )
    return conv_bn(3, 64, 7) + stages + dense(2048, 1000)


def resnet_cifar(n: int) -> int:
    """ResNet, section 4.2: 6n + 2 layers; option A gives shortcuts no parameters, so the plain net has as many."""
    stages = basic_stage(16, 16, n) + basic_stage(16, 32, n) + basic_stage(32, 64, n)
    return conv_bn(3, 16, 3) + stages + dense(64, 10)


def densenet(blocks: Sequence[int], growth: int, stem: int, classes: int, *, bottleneck: bool, keep: float) -> int:
    """DenseNet, table 1 without the stem: every layer BN then convolution, at the end BN and a dense layer."""
    total, channels = 0, stem
    for i, layers in enumerate(blocks):
        for _ in range(layers):
            if bottleneck:  # BN, 1x1 to 4k, BN, 3x3 to k
                total += 2 * channels + channels * 4 * growth + 2 * 4 * growth + 4 * growth * growth * 9
            else:  # BN, 3x3 to k
                total += 2 * channels + channels * growth * 9
            channels += growth
        if i < len(blocks) - 1:  # BN, 1x1
            total += 2 * channels + channels * int(channels * keep)
            channels = int(channels * keep)
    return total + 2 * channels + dense(channels, classes)


ALEXNET_DENSE = dense(6 * 6 * 256, 4096) + dense(4096, 4096) + dense(4096, 1000)
LENET = conv(1, 6, 5) + conv(6, 16, 5) + dense(5 * 5 * 16, 120) + dense(120, 84) + dense(84, 10)
VGG_DENSE = dense(7 * 7 * 512, 4096) + dense(4096, 4096) + dense(4096, 1000)
VGG_7_DENSE = dense(7 * 7 * 256, 4096) + dense(4096, 4096) + dense(4096, 1000)
VGG_STAGES = {
    "7": ([64], [128], [256, 256]),
    "7_wide": ([64], [128], [256], [512]),
    "9": ([64], [128], [256, 256], [512, 512]),
    "11": ([64], [128], [256, 256], [512, 512], [512, 512]),
    "13": ([64, 64], [128, 128], [256, 256], [512, 512], [512, 512]),
    "16": ([64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]),
    "19": ([64, 64], [128, 128], [256] * 4, [512] * 4, [512] * 4),
}
NOTES_CONVNET = conv(3, 32, 3) + conv(32, 64, 3) + conv(64, 128, 3) + 2 * (32 + 64 + 128) + dense(128, 10)
CONVNET = conv_bn(3, 32, 3) + conv_bn(32, 64, 3) + conv_bn(64, 128, 3) + dense(128, 10)
# Nine blocks of two convolutions on 32, 64 and 128 filters.
DEEP = basic_stage(3, 32, 3) + basic_stage(32, 64, 3) + basic_stage(64, 128, 3) + dense(128, 10)
# Two 3x3 convolutions a block, a BN after each; its scale counts, though it does not train.
SPEED_BLOCKS = sum(conv_bn(c, w, 3) + conv_bn(w, w, 3) for c, w in ((24, 64), (64, 256), (256, 256)))

# By the names of the models, on the classes and channels of their sources.
SUMS = {
    "mlp": dense(28 * 28, 256) + dense(256, 10),
    "lenet": LENET,
    "lenet5": LENET,
    "lenet_maxpool": LENET,
    "lenet_color": conv(3, 16, 5) + conv(16, 32, 5) + dense(5 * 5 * 32, 120) + dense(120, 84) + dense(84, 10),
    "mnist_cnn": conv(1, 32, 3) + conv(32, 64, 3) + conv(64, 64, 3) + dense(3 * 3 * 64, 64) + dense(64, 10),
    # In convolutions 2, 4 and 5 a filter sees only the maps of its own stream: 48, 192, 192.
    "alexnet_original": conv(3, 96, 11) + conv(48, 256, 5) + conv(256, 384, 3) + conv(192, 384, 3) + conv(192, 256, 3)
    + ALEXNET_DENSE,
    "alexnet_half": conv(3, 48, 11) + conv(48, 128, 5) + conv(128, 192, 3) + conv(192, 192, 3) + conv(192, 128, 3)
    + dense(6 * 6 * 128, 2048) + dense(2048, 2048) + dense(2048, 1000),
    "alexnet_grey": conv(1, 96, 11) + conv(96, 256, 5) + conv(256, 384, 3) + conv(384, 384, 3) + conv(384, 256, 3)
    + dense(5 * 5 * 256, 4096) + dense(4096, 4096) + dense(4096, 10),
    "alexnet_notes": conv(1, 96, 11) + conv(96, 256, 5) + conv(256, 384, 3) + conv(384, 256, 3) + conv(256, 256, 3)
    + dense(5 * 5 * 256, 4096) + dense(4096, 4096) + dense(4096, 10),
    **{f"vgg{n}": vgg_convolutions(VGG_STAGES[n]) + VGG_DENSE for n in ("7_wide", "9")},
    "vgg7": vgg_convolutions(VGG_STAGES["7"]) + VGG_7_DENSE,
    # Here BN follows convolutions that keep their biases.
    **{
        f"vgg{n}_bn": vgg_convolutions(VGG_STAGES[n]) + 2 * sum(map(sum, VGG_STAGES[n])) + VGG_DENSE
        for n in ("7_wide", "9")
    },
    "vgg7_bn": vgg_convolutions(VGG_STAGES["7"]) + 2 * (64 + 128 + 2 * 256) + VGG_7_DENSE,
    **{
        f"vgg{n}_cifar": vgg_convolutions(stages) + 2 * sum(map(sum, stages)) + dense(stages[-1][-1], 10)
        for n, stages in VGG_STAGES.items()
    },
    # Network C: the last convolution of the stages of three is 1x1.
    "vgg16_c": vgg_convolutions(([64, 64], [128, 128]))
    + conv(128, 256, 3) + conv(256, 256, 3) + conv(256, 256, 1)
    + conv(256, 512, 3) + conv(512, 512, 3) + conv(512, 512, 1)
    + 2 * conv(512, 512, 3) + conv(512, 512, 1) + VGG_DENSE,
    "nin": mlpconv(3, (192, 160, 96), 5) + mlpconv(96, (192, 192, 192), 5) + mlpconv(192, (192, 192, 10), 3),
    "nin_imagenet": mlpconv(3, (96, 96, 96), 11) + mlpconv(96, (256, 256, 256), 5) + mlpconv(256, (384, 384, 384), 3)
    + mlpconv(384, (1000, 1000, 1000), 3),
    "googlenet": googlenet(3, 1000) + googlenet_head(512) + googlenet_head(528),
    "googlenet_bn": googlenet(3, 1000) + googlenet_head(512) + googlenet_head(528) + GOOGLENET_FILTERS,
    "googlenet_d2l": googlenet(1, 10),
    # Every convolution with a bias, those of the shortcuts without BN.
    "resnet18_d2l": conv(1, 64, 7) + 2 * 64
    + 4 * (conv(64, 64, 3) + 2 * 64)
    + sum(
        conv(w // 2, w, 3) + 3 * conv(w, w, 3) + 4 * 2 * w + conv(w // 2, w, 1) for w in (128, 256, 512)
    )
    + dense(512, 10),
    "plain18": plain_basic(2, 2, 2, 2),
    "plain34": plain_basic(3, 4, 6, 3),
    "plain50": plain_bottleneck(3, 4, 6, 3),
    "plain101": plain_bottleneck(3, 4, 23, 3),
    "plain152": plain_bottleneck(3, 8, 36, 3),
    **{f"{kind}{6 * n + 2}": resnet_cifar(n) for kind in ("resnet", "plain") for n in (3, 5, 7, 9, 18)},
    "densenet141": conv_bn(3, 64, 7) + densenet((6, 12, 24, 26), 32, 64, 1000, bottleneck=True, keep=0.5),
    "densenet264": conv_bn(3, 64, 7) + densenet((6, 12, 64, 48), 32, 64, 1000, bottleneck=True, keep=0.5),
    "densenet_small": conv_bn(1, 64, 7) + densenet((4, 4, 4, 4), 32, 64, 10, bottleneck=False, keep=0.5),
    # The CIFAR stem is a bare 3x3 convolution: BN comes first in the block.
    "densenet40_cifar": 16 * 3 * 9 + densenet((12, 12, 12), 12, 16, 10, bottleneck=False, keep=1.0),
    "densenet100_cifar": 24 * 3 * 9 + densenet((16, 16, 16), 12, 24, 10, bottleneck=True, keep=0.5),
    # Stem, one block a stage, 1x1 shortcuts with BN where the width changes, 1024-512 dense.
    # A stem, 1, 2, 3 and 1 blocks of two convolutions, unpadded ones between, dense layers on 10 x 10 maps.
    "residual_cifar": conv(3, 64, 3) + 2 * conv(64, 64, 3)
    + conv(64, 128, 3) + 4 * conv(128, 128, 3)
    + conv(128, 256, 3) + 6 * conv(256, 256, 3)
    + conv(256, 512, 3) + 2 * conv(512, 512, 3)
    + dense(512 * 10 * 10, 1024) + dense(1024, 512) + dense(512, 10),
    "residual_cifar_bn": conv_bn(3, 64, 3)
    + basic_stage(64, 64, 1) + basic_stage(64, 128, 1) + basic_stage(128, 256, 1) + basic_stage(256, 512, 1)
    + conv_bn(64, 128, 1) + conv_bn(128, 256, 1) + conv_bn(256, 512, 1)
    + dense(512, 1024) + dense(1024, 512) + dense(512, 10),
    "convnet": NOTES_CONVNET,
    "dilated_convnet": NOTES_CONVNET,
    "myconvnet": conv(3, 32, 3) + 2 * 32 + dense(32, 10),
    "convnet_pooled": CONVNET,
    "dilated_convnet_padded": CONVNET,
    "plain_deep": DEEP,
    "residual_deep": DEEP,
    # 2x2 whitening filters, 2 * 12 of them, with a bias; a head without.
    "speednet": conv(3, 24, 2) + SPEED_BLOCKS + 256 * 10,
    "srcnn": conv(3, 64, 9) + conv(64, 32, 1) + conv(32, 3, 5),
    # The third and fourth take two earlier maps, the last all four.
    "aodnet": conv(3, 3, 1) + conv(3, 3, 3) + conv(6, 3, 5) + conv(6, 3, 7) + conv(12, 3, 3),
    # Way down, way back (2x2 transposed convolutions with a bias, then twice the maps), and the last convolution.
    "unet": sum(conv_bn(c, w, 3) + conv_bn(w, w, 3) for c, w in ((3, 16), (16, 32), (32, 64), (64, 128)))
    + sum(2 * w * w * 4 + w + conv_bn(2 * w, w, 3) + conv_bn(w, w, 3) for w in (64, 32, 16)) + conv(16, 3, 3),
}  # fmt: skip
