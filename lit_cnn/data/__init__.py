"""Image sets as LightningDataModules: pick one by its class name."""

from lit_cnn.data.arrays import CIFAR10, MNIST, Digits, FashionMNIST
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.folders import Flowers, ImageFolder, Vehicles
from lit_cnn.data.image_files import Images
from lit_cnn.data.loading.loader import Batch, BatchLoader
from lit_cnn.data.shards.datamodule import Stream
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.transforms.rng import hash_uniform

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
