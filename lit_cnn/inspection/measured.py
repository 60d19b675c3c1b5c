"""Written by measure.py, so that listing the models need not build them. Not to be edited."""

from lit_cnn.inspection.figures import Figures

# fmt: off
MEASURED = {
    "lenet": Figures(
        61_706, 416_520, (1, 28, 28), 10, 28, 1998,
        "LeCun et al. 1998, Gradient-based learning applied to document recognition, II.B",
        61_706, "d2l 7.6",
    ),
    "lenet5": Figures(
        61_706, 416_520, (1, 32, 32), 10, 32, 1998,
        "LeCun et al. 1998, Gradient-based learning applied to document recognition, II.B",
        61_706, "by hand",
    ),
    "lenet_maxpool": Figures(
        61_706, 416_520, (1, 28, 28), 10, 28, 1998,
        "LeCun et al. 1998, Gradient-based learning applied to document recognition, II.B",
        61_706, "by hand",
    ),
    "lenet_color": Figures(
        121_182, 2_327_720, (3, 32, 32), 10, 32, 1998,
        "LeCun et al. 1998, Gradient-based learning applied to document recognition, II.B",
        121_182, "by hand",
    ),
    "mnist_cnn": Figures(
        93_322, 2_794_240, (1, 28, 28), 10, 26, 2019,
        "TensorFlow tutorials, Convolutional Neural Network (CNN)",
        93_322, "tutorial's summary",
    ),
    "alexnet": Figures(
        61_100_840, 714_188_480, (3, 224, 224), 1000, 63, 2014,
        "Krizhevsky 2014, One weird trick, arXiv 1404.5997",
        61_100_840, "torchvision",
    ),
    "alexnet_original": Figures(
        60_965_224, 724_406_816, (3, 227, 227), 1000, 227, 2012,
        "Krizhevsky et al. 2012, ImageNet classification with deep CNNs, section 3",
        60_965_224, "Caffe model zoo, bvlc_alexnet",
    ),
    "alexnet_half": Figures(
        16_630_440, 311_191_824, (3, 224, 224), 1000, 223, 2012,
        "Krizhevsky et al. 2012, ImageNet classification with deep CNNs, section 3",
        16_630_440, "by hand",
    ),
    "alexnet_grey": Figures(
        46_764_746, 938_146_176, (1, 224, 224), 10, 193, 2012,
        "Krizhevsky et al. 2012, ImageNet classification with deep CNNs, section 3",
        46_764_746, "d2l 8.1, by hand",
    ),
    "vgg7": Figures(
        125_193_832, 2_984_869_888, (3, 224, 224), 1000, 16, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        125_193_832, "by hand",
    ),
    "vgg7_bn": Figures(
        125_195_752, 2_984_869_888, (3, 224, 224), 1000, 16, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        125_195_752, "by hand",
    ),
    "vgg7_cifar": Figures(
        1_558_026, 58_397_696, (3, 32, 32), 10, 16, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        1_558_026, "by hand",
    ),
    "vgg9": Figures(
        128_143_720, 6_684_246_016, (3, 224, 224), 1000, 16, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        128_143_720, "by hand",
    ),
    "vgg9_bn": Figures(
        128_147_176, 6_684_246_016, (3, 224, 224), 1000, 16, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        128_147_176, "by hand",
    ),
    "vgg9_cifar": Figures(
        4_509_450, 133_895_168, (3, 32, 32), 10, 16, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        4_509_450, "by hand",
    ),
    "vgg11": Figures(
        132_863_336, 7_609_090_048, (3, 224, 224), 1000, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        132_863_336, "torchvision",
    ),
    "vgg11_bn": Figures(
        132_868_840, 7_609_090_048, (3, 224, 224), 1000, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        132_868_840, "torchvision",
    ),
    "vgg11_cifar": Figures(
        9_231_114, 152_769_536, (3, 32, 32), 10, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        9_231_114, "kuangliu/pytorch-cifar",
    ),
    "vgg13": Figures(
        133_047_848, 11_308_466_176, (3, 224, 224), 1000, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        133_047_848, "torchvision",
    ),
    "vgg13_bn": Figures(
        133_053_736, 11_308_466_176, (3, 224, 224), 1000, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        133_053_736, "torchvision",
    ),
    "vgg13_cifar": Figures(
        9_416_010, 228_267_008, (3, 32, 32), 10, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        9_416_010, "kuangliu/pytorch-cifar",
    ),
    "vgg16": Figures(
        138_357_544, 15_470_264_320, (3, 224, 224), 1000, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        138_357_544, "torchvision",
    ),
    "vgg16_bn": Figures(
        138_365_992, 15_470_264_320, (3, 224, 224), 1000, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        138_365_992, "torchvision",
    ),
    "vgg16_cifar": Figures(
        14_728_266, 313_201_664, (3, 32, 32), 10, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        14_728_266, "kuangliu/pytorch-cifar",
    ),
    "vgg19": Figures(
        143_667_240, 19_632_062_464, (3, 224, 224), 1000, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        143_667_240, "torchvision",
    ),
    "vgg19_bn": Figures(
        143_678_248, 19_632_062_464, (3, 224, 224), 1000, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        143_678_248, "torchvision",
    ),
    "vgg19_cifar": Figures(
        20_040_522, 398_136_320, (3, 32, 32), 10, 32, 2014,
        "Simonyan and Zisserman 2014, Very deep CNNs, arXiv 1409.1556, table 1",
        20_040_522, "kuangliu/pytorch-cifar",
    ),
    "nin": Figures(
        966_986, 222_486_528, (3, 32, 32), 10, 4, 2013,
        "Lin et al. 2013, Network in network, arXiv 1312.4400",
        966_986, "authors' Caffe model, by hand",
    ),
    "nin_imagenet": Figures(
        7_439_608, 965_572_864, (3, 224, 224), 1000, 67, 2013,
        "Lin et al. 2013, Network in network, arXiv 1312.4400",
        7_439_608, "by hand",
    ),
    "googlenet": Figures(
        13_378_280, 1_582_671_872, (3, 224, 224), 1000, 79, 2014,
        "Szegedy et al. 2014, Going deeper with convolutions, arXiv 1409.4842, table 1",
        13_378_280, "Caffe model zoo, bvlc_googlenet",
    ),
    "googlenet_bn": Figures(
        13_385_816, 1_582_671_872, (3, 224, 224), 1000, 79, 2015,
        "Ioffe and Szegedy 2015, Batch normalization, arXiv 1502.03167 (layers of 1409.4842)",
        13_385_816, "by hand",
    ),
    "googlenet_d2l": Figures(
        5_977_530, 276_066_304, (1, 96, 96), 10, 1, 2014,
        "Szegedy et al. 2014, Going deeper with convolutions, arXiv 1409.4842, table 1",
        5_977_530, "d2l 8.4, by hand",
    ),
    "resnet18": Figures(
        11_689_512, 1_814_073_344, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        11_689_512, "torchvision",
    ),
    "resnet34": Figures(
        21_797_672, 3_663_761_408, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        21_797_672, "torchvision",
    ),
    "resnet50": Figures(
        25_557_032, 4_089_184_256, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        25_557_032, "torchvision",
    ),
    "resnet101": Figures(
        44_549_160, 7_801_405_440, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        44_549_160, "torchvision",
    ),
    "resnet152": Figures(
        60_192_808, 11_513_626_624, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        60_192_808, "torchvision",
    ),
    "resnet50_v1": Figures(
        25_557_032, 3_857_973_248, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        25_557_032, "torchvision",
    ),
    "resnet101_v1": Figures(
        44_549_160, 7_570_194_432, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        44_549_160, "torchvision",
    ),
    "resnet152_v1": Figures(
        60_192_808, 11_282_415_616, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        60_192_808, "torchvision",
    ),
    "plain18": Figures(
        11_515_688, 1_794_805_760, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        11_515_688, "torchvision less projections",
    ),
    "plain34": Figures(
        21_623_848, 3_644_493_824, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        21_623_848, "torchvision less projections",
    ),
    "plain50": Figures(
        22_780_456, 3_729_522_688, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        22_780_456, "torchvision less projections",
    ),
    "plain101": Figures(
        41_772_584, 7_441_743_872, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        41_772_584, "torchvision less projections",
    ),
    "plain152": Figures(
        57_416_232, 11_153_965_056, (3, 224, 224), 1000, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, table 1",
        57_416_232, "torchvision less projections",
    ),
    "resnet20": Figures(
        269_722, 40_551_040, (3, 32, 32), 10, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, section 4.2",
        269_722, "paper, table 6",
    ),
    "resnet32": Figures(
        464_154, 68_862_592, (3, 32, 32), 10, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, section 4.2",
        464_154, "paper, table 6",
    ),
    "resnet44": Figures(
        658_586, 97_174_144, (3, 32, 32), 10, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, section 4.2",
        658_586, "paper, table 6",
    ),
    "resnet56": Figures(
        853_018, 125_485_696, (3, 32, 32), 10, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, section 4.2",
        853_018, "paper, table 6",
    ),
    "resnet110": Figures(
        1_727_962, 252_887_680, (3, 32, 32), 10, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, section 4.2",
        1_727_962, "paper, table 6",
    ),
    "plain20": Figures(
        269_722, 40_551_040, (3, 32, 32), 10, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, section 4.2",
        269_722, "residual twin",
    ),
    "plain32": Figures(
        464_154, 68_862_592, (3, 32, 32), 10, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, section 4.2",
        464_154, "residual twin",
    ),
    "plain44": Figures(
        658_586, 97_174_144, (3, 32, 32), 10, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, section 4.2",
        658_586, "residual twin",
    ),
    "plain56": Figures(
        853_018, 125_485_696, (3, 32, 32), 10, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, section 4.2",
        853_018, "residual twin",
    ),
    "plain110": Figures(
        1_727_962, 252_887_680, (3, 32, 32), 10, 1, 2015,
        "He et al. 2015, Deep residual learning, arXiv 1512.03385, section 4.2",
        1_727_962, "residual twin",
    ),
    "densenet121": Figures(
        7_978_856, 2_834_161_664, (3, 224, 224), 1000, 29, 2016,
        "Huang et al. 2016, Densely connected convolutional networks, arXiv 1608.06993, table 1",
        7_978_856, "torchvision",
    ),
    "densenet161": Figures(
        28_681_000, 7_727_907_072, (3, 224, 224), 1000, 29, 2016,
        "Huang et al. 2016, Densely connected convolutional networks, arXiv 1608.06993, table 1",
        28_681_000, "torchvision",
    ),
    "densenet169": Figures(
        14_149_480, 3_359_843_328, (3, 224, 224), 1000, 29, 2016,
        "Huang et al. 2016, Densely connected convolutional networks, arXiv 1608.06993, table 1",
        14_149_480, "torchvision",
    ),
    "densenet201": Figures(
        20_013_928, 4_291_365_888, (3, 224, 224), 1000, 29, 2016,
        "Huang et al. 2016, Densely connected convolutional networks, arXiv 1608.06993, table 1",
        20_013_928, "torchvision",
    ),
    "densenet264": Figures(
        33_337_704, 5_751_653_376, (3, 224, 224), 1000, 29, 2016,
        "Huang et al. 2016, Densely connected convolutional networks, arXiv 1608.06993, table 1",
        33_337_704, "paper, figure 3: 33 M; exact by hand",
    ),
    "densenet_small": Figures(
        757_322, 129_077_168, (1, 96, 96), 10, 29, 2016,
        "Huang et al. 2016, Densely connected convolutional networks, arXiv 1608.06993, table 1",
        757_322, "d2l 8.7 less its biases",
    ),
    "densenet40_cifar": Figures(
        1_019_722, 264_812_928, (3, 32, 32), 10, 4, 2016,
        "Huang et al. 2016, Densely connected convolutional networks, arXiv 1608.06993, table 2",
        1_019_722, "paper: 1.0 M; exact by hand",
    ),
    "densenet100_cifar": Figures(
        769_162, 287_929_692, (3, 32, 32), 10, 4, 2016,
        "Huang et al. 2016, Densely connected convolutional networks, arXiv 1608.06993, table 2",
        769_162, "paper: 0.8 M; exact by hand",
    ),
    "residual_cifar": Figures(
        5_953_354, 254_481_408, (3, 32, 32), 10, 1, 2015,
        "blocks of He et al. 2015, arXiv 1512.03385, figure 5",
        5_953_354, "by hand",
    ),
    "convnet": Figures(
        94_762, 10_323_200, (3, 32, 32), 10, 8, 2015,
        "BN: Ioffe and Szegedy 2015, arXiv 1502.03167",
        94_762, "by hand",
    ),
    "dilated_convnet": Figures(
        94_762, 95_257_856, (3, 32, 32), 10, 1, 2017,
        "Wang et al. 2017, Understanding convolution for semantic segmentation, arXiv 1702.08502, section 3.2",
        94_762, "by hand",
    ),
    "plain_deep": Figures(
        1_064_682, 151_880_960, (3, 32, 32), 10, 1, 2015,
        "after He et al. 2015, arXiv 1512.03385, section 4.1",
        1_064_682, "by hand",
    ),
    "residual_deep": Figures(
        1_064_682, 151_880_960, (3, 32, 32), 10, 1, 2015,
        "after He et al. 2015, arXiv 1512.03385, section 4.1",
        1_064_682, "by hand",
    ),
    "speednet": Figures(
        1_972_792, 118_147_360, (3, 32, 32), 10, 9, 2024,
        "Jordan 2024, 94 % on CIFAR-10 in 3.29 seconds, arXiv 2404.00498, section 3.1",
        1_972_792, "paper: 1.97 M; exact by hand",
    ),
}
