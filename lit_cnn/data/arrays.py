"""Data sets in memory as one uint8 array: ArrayDataModule, Digits, MNIST, FashionMNIST, CIFAR10."""

from __future__ import annotations

import functools
import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lit_cnn.data import mnist_cifar_files
from lit_cnn.data.array_source import ArraySource
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.geometry import Size
from lit_cnn.data.quality.ignore import drop_ignored, read_ignore
from lit_cnn.data.split import Split, hold_out
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.validation import OTHER_DATA_DIR
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say
from lit_cnn.utils.download import fetch
from lit_cnn.utils.files import digest

SHIFT_AND_FLIP = Augment(crop_padding=4, flip=0.5)  # of CIFAR-10 since He et al., 2015, section 4.2
SHIFT = Augment(crop_padding=2)  # digits must not be flipped


class ArrayDataModule(ImageDataModule):
    """Base class of data sets in memory; validation is held out of the training images.

    A subclass defines ``read`` and the constants::

        class Shapes(ArrayDataModule):
            CLASSES = ("circle", "square")
            SHAPE = (32, 1)  # image_size, channels

            def read(self, split: str) -> tuple[Tensor, Tensor]:
                content = torch.load(Path(self.data_dir, f"{split}.pt"))  # split: "train" or "test"
                return content["images"], content["targets"]  # uint8 (N, C, H, W), int64 (N,)

    Args:
        data_dir: Folder of the data.
        download: Download the data from its official address if it is not found; otherwise the network is never used.
        val_fraction: Share of the training images held out for validation, stratified by class; 0: no validation.
        ignore: Text file of images to leave out, one name such as train/123 a line; # begins a comment.
    """

    CLASSES: ClassVar[tuple[str, ...]] = ()
    SHAPE: ClassVar[tuple[Size, int]] = (32, 3)  # image size and channels
    MEAN: ClassVar[tuple[float, ...]] = ()  # per channel, in units of [0, 1]; empty: computed
    STD: ClassVar[tuple[float, ...]] = ()

    def __init__(self, download: bool = False, ignore: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.download, self.ignore = download, ignore
        own = self.default_shape()[1]
        if self.channels not in (1, 3, own) or (own not in (1, 3) and self.channels != own):
            raise UserError(f"`data.channels` is {self.channels}: {_channels_of(own)}")
        self._sources: dict[str, ArraySource] = {}
        self._fingerprint: str | None = None

    @abstractmethod
    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Return images, uint8 (N, C, H, W) of any size, and targets, int64 (N,), of ``split`` "train" or "test"."""

    def default_shape(self) -> tuple[Size, int]:
        """Return SHAPE."""
        return self.SHAPE

    def published_statistics(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """Return MEAN and STD."""
        return self.MEAN, self.STD

    def data_classes(self) -> list[str]:
        """Return CLASSES."""
        return list(self.CLASSES)

    def fingerprint(self) -> str:
        """Return a hash of all images and targets; a subclass whose files have checksums returns one of these."""
        if self._fingerprint is None:
            arrays = [array for split in ("train", "test") for array in self._read(split)]
            self._fingerprint = digest(*(hashlib.sha256(array.numpy().tobytes()).hexdigest() for array in arrays))
        return self._fingerprint

    def _source(self, split: str) -> ArraySource:
        if split not in self._sources:
            images, targets = self._read(split)
            self._check_arrays(split, images, targets)
            targets = self.remap_targets(targets)
            self._sources[split] = ArraySource(images, targets, split, self.channels, self.image_size)
        return self._sources[split]

    def _read(self, split: str) -> tuple[Tensor, Tensor]:
        pair: Any = self.read(split)
        several = isinstance(pair, (tuple, list))
        if several and len(pair) == 2 and all(isinstance(part, Tensor) for part in pair):
            return pair[0], pair[1]
        types = f" of ({', '.join(type(part).__name__ for part in pair)})" if several else ""
        raise UserError(
            f"{type(self).__name__}.read({split!r}) returned a {type(pair).__name__}{types}, not two tensors: images, "
            "uint8 (N, C, H, W), and targets, int64 (N,)"
        )

    def _check_arrays(self, split: str, images: Tensor, targets: Tensor) -> None:
        """Refuse what a subclass read where training would fail later with a puzzling error."""
        what = f"{type(self).__name__}.read({split!r}) returned"
        channels = (1, 3) if self.channels in (1, 3) else (self.channels,)
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in channels:
            wanted = f"torch.uint8 (N, {' or '.join(map(str, channels))}, H, W)"
            raise UserError(f"{what} images of {images.dtype} {tuple(images.shape)}, not {wanted}")
        if targets.dtype != torch.int64 or targets.shape != images.shape[:1]:
            raise UserError(
                f"{what} targets of {targets.dtype} {tuple(targets.shape)}, not torch.int64 ({len(images)},)"
            )
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < len(self.data_classes()):
            raise UserError(f"{what} targets outside of 0 to {len(self.data_classes()) - 1}, the indices of CLASSES")

    def has_split(self, name: str) -> bool:
        """Whether there are images of split ``name``."""
        return name != "val" or self.val_fraction != 0

    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return "test", and "train" with "val"."""
        splits: dict[str, Split] = {}
        if "test" in names:
            source = self._source("test")
            splits["test"] = Split(source, torch.arange(len(source)))
        if "train" in names or "val" in names:
            source = self._source("train")
            splits.update(self._hold_out(source, {"val": self.val_fraction}))
        return drop_ignored(splits, read_ignore(self.ignore, self.data_dir))

    def _hold_out(self, source: ArraySource, fractions: dict[str, float]) -> dict[str, Split]:
        """Return the samples of ``source`` as "train" and the splits that are held out of it."""
        names = [str(i) for i in range(len(source))]
        indices = hold_out(
            {"train": torch.arange(len(source))},
            fractions,
            names,
            source.targets,
            seed=self.split_seed,
            class_names=self.class_names,
        )
        return {split: Split(source, members) for split, members in indices.items()}

    def _num_threads(self, split: Split | None = None, shuffle: bool = False) -> int:
        # Gathering from memory takes less time than a thread switch; resizing does not.
        threads = 0 if all(source.converted for source in self._sources.values()) else 1
        if self.workers == "auto" and split is not None and self._benchmarked_threads is None:
            self._benchmarked_threads = threads
            say(f"workers auto: {threads} (images in memory need no more)")
        return threads

    def preprocessing(self) -> dict[str, Any]:
        """Return how images are prepared, see the base class; image files are resized to a square of this size."""
        return {**super().preprocessing(), "eval_resize": "stretch", "eval_crop": 1.0}


def _channels_of(own: int) -> str:
    return "choose 1 (grey) or 3 (RGB)" if own in (1, 3) else f"these images have {own}"


class Digits(ArrayDataModule):
    """1,797 handwritten digits, 8 x 8 grey, that come with scikit-learn (UCI, Alpaydin and Kaynak, 1998).

    No files, no download. The train, validation and test splits are stratified, seeded by split_seed.

    Args:
        test_fraction: Share of the images in the test split; 0: no test split.
        val_fraction: Share of the training images held out for validation, stratified by class; 0: no validation.
        augment: Random augmentation of training images.
    """

    CLASSES = tuple("0123456789")
    SHAPE = (28, 1)  # enlarged from 8 x 8 to MNIST's size
    MEAN, STD = (0.3053,), (0.3246,)  # of all 1,797 at 28 x 28, computed here

    def __init__(
        self, test_fraction: float = 0.2, val_fraction: float = 0.125, augment: Augment = SHIFT, **kwargs: Any
    ) -> None:
        super().__init__(val_fraction=val_fraction, augment=augment, **kwargs)
        self.test_fraction = test_fraction

    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Return all digits, whatever the split."""
        pixels, targets = (torch.tensor(array) for array in _read_digits())
        return pixels[:, None], targets

    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return all three splits, whatever is asked for."""
        splits = self._hold_out(self._source("digits"), {"test": self.test_fraction, "val": self.val_fraction})
        return drop_ignored(splits, read_ignore(self.ignore, self.data_dir))

    def has_split(self, name: str) -> bool:
        """Whether there are images of split ``name``."""
        return super().has_split(name) and (name != "test" or self.test_fraction != 0)

    def fingerprint(self) -> str:
        """Return a hash of the images and labels, before any change of size or class order."""
        return _digits_fingerprint()


@functools.cache
def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (1797, 8, 8) and labels int64 (1797,), read once: from text, which takes as long as an epoch."""
    from sklearn.datasets import load_digits  # sklearn takes a second to import

    bunch = load_digits()  # pixels of 0..16
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int64)


@functools.cache
def _digits_fingerprint() -> str:
    return digest(_read_digits()[0].tobytes().hex(), _read_digits()[1].tolist())


class MNIST(ArrayDataModule):
    """70,000 handwritten digits, 28 x 28 grey (LeCun et al., 1998), from the official idx files, gzipped or not."""

    CLASSES = tuple("0123456789")
    SHAPE = (28, 1)
    MEAN, STD = (0.1307,), (0.3081,)  # of the 60,000 training images, as in pytorch/examples/mnist
    FILES: ClassVar[dict[str, tuple[mnist_cifar_files.IdxFile, mnist_cifar_files.IdxFile]]] = (
        mnist_cifar_files.MNIST_FILES
    )
    FOLDERS: ClassVar[tuple[str, ...]] = (".", "MNIST/raw", "MNIST", "raw", "mnist")

    def __init__(self, augment: Augment = SHIFT, **kwargs: Any) -> None:
        super().__init__(augment=augment, **kwargs)

    def _folders(self) -> list[Path]:
        return list(dict.fromkeys(Path(self.data_dir, name) for name in self.FOLDERS))

    def prepare_data(self) -> None:
        """Download missing files, if ``download`` is set."""
        if self.download:
            for file in (file for pair in self.FILES.values() for file in pair):
                if mnist_cifar_files.find_idx(file.archive.name, self._folders()) is None:
                    fetch(file.archive, Path(self.data_dir), OTHER_DATA_DIR)

    def _find(self, file: mnist_cifar_files.IdxFile) -> Path:
        path = mnist_cifar_files.find_idx(file.archive.name, self._folders())
        if path is None:
            raise UserError(
                f"{type(self).__name__}: no {file.archive.name} in {', '.join(map(str, self._folders()))}; point "
                f"`data.data_dir` at it, or add `data.download=true` to fetch it; offline: `data=Digits`"
            )
        return path

    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Read and verify the idx files, see the base class."""
        image_file, label_file = self.FILES[split]
        images = mnist_cifar_files.read_idx(self._find(image_file), image_file.sha256, dims=3)
        labels = mnist_cifar_files.read_idx(self._find(label_file), label_file.sha256, dims=1)
        return torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64))

    def fingerprint(self) -> str:
        """Return a hash of the checksums of the contents, which ``read`` verifies."""
        return digest(type(self).__name__, *(file.sha256 for pair in self.FILES.values() for file in pair))


class FashionMNIST(MNIST):
    """70,000 images of clothes, 28 x 28 grey (Xiao et al., 2017), from the official idx files, gzipped or not.

    The folder of Debian's package dataset-fashion-mnist is searched too.
    """

    CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    MEAN, STD = (0.2860,), (0.3530,)  # of the 60,000 training images, computed
    FILES = mnist_cifar_files.FASHION_MNIST_FILES
    FOLDERS = (
        ".",
        "FashionMNIST/raw",
        "FashionMNIST",
        "raw",
        "fashion-mnist",
        "/usr/share/datasets/fashion-mnist",  # absolute: Path("a", "/b") is /b
    )


class CIFAR10(ArrayDataModule):
    """60,000 photos, 32 x 32 RGB, 10 classes (Krizhevsky, 2009), from cifar-10-python.tar.gz or cifar-10-batches-py."""

    CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    SHAPE = (32, 3)
    # Over all pixels of the 50,000 training images. The much-copied std (0.2023, 0.1994, 0.2010) is the mean of each
    # image's own std, which ignores how the images differ from one another.
    MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

    def __init__(self, augment: Augment = SHIFT_AND_FLIP, **kwargs: Any) -> None:
        super().__init__(augment=augment, **kwargs)

    def _folders(self) -> list[Path]:
        return list(dict.fromkeys(Path(self.data_dir, name) for name in (".", "CIFAR10", "cifar10", "cifar-10")))

    def prepare_data(self) -> None:
        """Download the archive, if ``download`` is set and there is none."""
        if self.download and mnist_cifar_files.find_cifar(self._folders()) is None:
            fetch(mnist_cifar_files.CIFAR_ARCHIVE, Path(self.data_dir), OTHER_DATA_DIR)

    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Read and verify the pickled batches, see the base class."""
        path = mnist_cifar_files.find_cifar(self._folders())
        if path is None:
            raise UserError(
                f"CIFAR10: no {mnist_cifar_files.CIFAR_ARCHIVE.name} or cifar-10-batches-py in "
                f"{', '.join(map(str, self._folders()))}; point `data.data_dir` at it, or add `data.download=true` to "
                f"fetch it; images in class folders: `data=ImageFolder`; offline: `data=Digits`"
            )
        images, labels = mnist_cifar_files.read_cifar(path, split)
        return torch.from_numpy(images), torch.from_numpy(labels)

    def fingerprint(self) -> str:
        """Return a hash of the official checksums, which ``read`` verifies."""
        return digest(type(self).__name__, *mnist_cifar_files.CIFAR_BATCHES.values())
