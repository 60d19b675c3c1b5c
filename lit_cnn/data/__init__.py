"""Image data sets as LightningDataModules, chosen by class name.

``datamodule`` has the base class, ``registry`` the names, ``arrays`` and ``folders`` the data sets; a sample goes from
a source (``array_source``, ``decoding``, ``cache``, ``shards``) through ``loading`` to ``transforms`` on the device.
"""

from lit_cnn.data.array_source import ArraySource
from lit_cnn.data.arrays import CIFAR10, MNIST, ArrayDataModule, Digits, FashionMNIST
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.source import LabelledFile
from lit_cnn.data.flowers_vehicles import Flowers, Vehicles
from lit_cnn.data.folders import ImageFolder
from lit_cnn.data.image_files import ImageFilesDataModule
from lit_cnn.data.images import Images
from lit_cnn.data.lists.datamodule import ImageList
from lit_cnn.data.loading.loader import Batch, BatchLoader
from lit_cnn.data.pairs import DehazePairs, WholeImages
from lit_cnn.data.registry import datasets
from lit_cnn.data.shards.datamodule import Stream
from lit_cnn.data.split import Split
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.transforms.registered import register_transform
from lit_cnn.data.transforms.rng import counter_uniform

__all__ = [
    "CIFAR10",
    "MNIST",
    "ArrayDataModule",
    "ArraySource",
    "Augment",
    "Batch",
    "BatchLoader",
    "DehazePairs",
    "Digits",
    "FashionMNIST",
    "Flowers",
    "ImageDataModule",
    "ImageFilesDataModule",
    "ImageFolder",
    "ImageList",
    "Images",
    "LabelledFile",
    "Split",
    "Stream",
    "Vehicles",
    "WholeImages",
    "counter_uniform",
    "datasets",
    "register_transform",
]
