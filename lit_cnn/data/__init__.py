"""Image sets as LightningDataModules: pick one by its class name."""

from lit_cnn.data.arrays import CIFAR10, MNIST, Digits, FashionMNIST
from lit_cnn.data.augment import Augment
from lit_cnn.data.base import ImageDataModule
from lit_cnn.data.draws import hash_uniform
from lit_cnn.data.folders import Flowers, ImageFolder, Vehicles
from lit_cnn.data.images import Images
from lit_cnn.data.loader import Batch, BatchLoader
from lit_cnn.data.stream import Stream

__all__ = [
    "CIFAR10",
    "MNIST",
    "Augment",
    "Batch",
    "BatchLoader",
    "Digits",
    "FashionMNIST",
    "Flowers",
    "ImageDataModule",
    "ImageFolder",
    "Images",
    "Stream",
    "Vehicles",
    "hash_uniform",
]
