"""Sets that fit in memory as one uint8 array: Digits, MNIST, FashionMNIST, CIFAR10."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_cnn.data import mnist_cifar_files
from lit_cnn.data.datamodule import ImageDataModule, Part
from lit_cnn.data.loading.loader import gather
from lit_cnn.data.split import cut
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.transforms.rng import digest
from lit_cnn.errors import UserError
from lit_cnn.utils.download import fetch

SHIFT_AND_FLIP = Augment(crop_padding=4, flip=0.5)  # the usual one for CIFAR-10 since He et al., 2015, section 4.2
SHIFT = Augment(crop_padding=2)  # digits must not be mirrored
MAX_CONVERTED = 1 << 29  # bytes: Fashion-MNIST at 224 x 224 would take 3 GB


class ArraySource:
    """Images in memory.

    Args:
        images: uint8 (N, C, H, W).
        targets: int64 (N,).
        title: What ``name`` puts before the number.
        channels: Of the images given out, 1 or 3.
        size: Their height and width; conversion happens once, here, unless the result would take too much memory.
    """

    def __init__(self, images: Tensor, targets: Tensor, title: str, channels: int, size: int) -> None:
        self.shape = (channels, size, size)
        self.converted = len(images) * channels * size * size <= max(MAX_CONVERTED, images.numel())
        self.images = to_shape(images, channels, size) if self.converted else images
        self.targets, self.title = targets, title

    def __len__(self) -> int:
        return len(self.images)

    def name(self, row: int) -> str:
        """Return e.g. ``test/123``."""
        return f"{self.title}/{row}"

    def tasks(self, rows: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function that gathers all rows."""

        def fill() -> None:
            if self.converted:
                gather(self.images.numpy(), rows, out)
            else:
                out.copy_(to_shape(self.images[rows], self.shape[0], self.shape[1]))

        return [fill]


def to_shape(images: Tensor, channels: int, size: int) -> Tensor:
    """Convert uint8 (N, C, H, W) to ``channels`` and ``size`` x ``size``: luma, antialiased bilinear, repetition."""
    chunks = []
    for chunk in images.split(1024):  # floats take four times the memory
        if chunk.shape[1] == 3 and channels == 1:
            weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # ITU-R BT.601, as Pillow's mode L
            chunk = (chunk * weights).sum(1, keepdim=True).round().byte()
        if chunk.shape[-2:] != (size, size):
            resized = F.interpolate(chunk.float(), (size, size), mode="bilinear", antialias=True)
            chunk = resized.round().clamp(0, 255).byte()
        chunks.append(chunk.expand(-1, channels, -1, -1))
    return torch.cat(chunks) if chunks else images.new_empty(0, channels, size, size)


class ArrayDataModule(ImageDataModule):
    """A set in memory; validation is cut off the training part.

    Args:
        data_dir: Folder of the data.
        download: Fetch the data from its official address when it is not found; otherwise the network is never used.
        val_fraction: Share of the training images cut off for validation, in every class alike.
    """

    CLASSES: ClassVar[tuple[str, ...]] = ()
    SHAPE: ClassVar[tuple[int, int]] = (32, 3)  # size, channels
    MEAN: ClassVar[tuple[float, ...]] = ()
    STD: ClassVar[tuple[float, ...]] = ()

    def __init__(self, download: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.download = download
        self._sources: dict[str, ArraySource] = {}

    @abstractmethod
    def _read(self, part: str) -> tuple[Tensor, Tensor]:
        """Return images, uint8 (N, C, H, W), and targets, int64 (N,), of "train" or "test"."""

    def _own_shape(self) -> tuple[int, int]:
        return self.SHAPE

    def _own_statistics(self) -> tuple[Sequence[float], Sequence[float]] | None:
        return self.MEAN, self.STD

    def _own_classes(self) -> list[str]:
        return list(self.CLASSES)

    def _source(self, part: str) -> ArraySource:
        if part not in self._sources:
            images, targets = self._read(part)
            targets = self._fixed_targets(targets)
            self._sources[part] = ArraySource(images, targets, part, self.channels, self.image_size)
        return self._sources[part]

    def _build(self, names: Sequence[str]) -> dict[str, Part]:
        parts: dict[str, Part] = {}
        if "test" in names:
            source = self._source("test")
            parts["test"] = Part(source, torch.arange(len(source)))
        if "train" in names or "val" in names:
            source = self._source("train")
            kept, off = cut(
                [str(i) for i in range(len(source))],
                source.targets,
                self.val_fraction,
                seed=self.split_seed,
                class_names=self.class_names,
                part="val",
            )
            parts["train"], parts["val"] = Part(source, kept), Part(source, off)
        return parts

    def _workers(self, part: Part | None = None, shuffle: bool = False) -> int:
        # Gathering from memory takes less time than handing it to a thread; resizing does not.
        threads = 0 if all(source.converted for source in self._sources.values()) else 1
        if self.workers == "auto" and part is not None and self._measured_workers is None:
            self._measured_workers = threads
            if self._speaks:
                print(f"workers auto: {threads} (images in memory need no more)")
        return threads

    def preprocessing(self) -> dict[str, Any]:
        """Return how images are prepared, see the base class; other pictures are stretched to this set's size."""
        return {**super().preprocessing(), "eval_resize": "stretch", "eval_crop": 1.0}


class Digits(ArrayDataModule):
    """1,797 real handwritten digits, 8 x 8 grey, that come with scikit-learn (UCI, Alpaydin and Kaynak, 1998).

    No files, no download. Train, validation and test are cut in every class alike, seeded by split_seed.

    Args:
        test_fraction: Share of the images that is the test set.
        val_fraction: Share of the training images cut off for validation, in every class alike.
        augment: Random changes to training images.
    """

    CLASSES = tuple("0123456789")
    SHAPE = (28, 1)  # enlarged from 8 x 8 to MNIST's size
    MEAN, STD = (0.3053,), (0.3246,)  # of all 1,797 at 28 x 28, computed here

    def __init__(
        self, test_fraction: float = 0.2, val_fraction: float = 0.125, augment: Augment = SHIFT, **kwargs: Any
    ) -> None:
        super().__init__(val_fraction=val_fraction, augment=augment, **kwargs)
        self.test_fraction = test_fraction

    def _read(self, part: str) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # given as 0..16
        return torch.from_numpy(pixels)[:, None], torch.from_numpy(bunch.target.astype(np.int64))

    def _build(self, names: Sequence[str]) -> dict[str, Part]:
        source = self._source("digits")
        titles, classes = [str(i) for i in range(len(source))], self.class_names

        def split(rows: Tensor, fraction: float, part: str) -> tuple[Tensor, Tensor]:
            kept, off = cut(
                [titles[i] for i in rows.tolist()],
                source.targets[rows],
                fraction,
                seed=self.split_seed,
                class_names=classes,
                part=part,
            )
            return rows[kept], rows[off]

        rest, test = split(torch.arange(len(source)), self.test_fraction, "test")
        train, val = split(rest, self.val_fraction, "val")
        return {"train": Part(source, train), "val": Part(source, val), "test": Part(source, test)}

    def fingerprint(self) -> str:
        """Return a hash of the images and labels."""
        images, targets = self._read("digits")  # as they come, whatever size and classes are asked for
        return digest(images.numpy().tobytes().hex(), targets.tolist())


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
        """Download what is missing, if that was asked for."""
        if self.download:
            for file in (file for pair in self.FILES.values() for file in pair):
                if mnist_cifar_files.find_idx(file.remote.name, self._folders()) is None:
                    fetch(file.remote, Path(self.data_dir))

    def _find(self, file: mnist_cifar_files.IdxFile) -> Path:
        path = mnist_cifar_files.find_idx(file.remote.name, self._folders())
        if path is None:
            raise UserError(
                f"{type(self).__name__}: no {file.remote.name} in {', '.join(map(str, self._folders()))}; point "
                f"--data.data_dir at it, or add --data.download true to fetch it; offline: --data Digits"
            )
        return path

    def _read(self, part: str) -> tuple[Tensor, Tensor]:
        image_file, label_file = self.FILES[part]
        images = mnist_cifar_files.read_idx(self._find(image_file), image_file.sha256, dims=3)
        labels = mnist_cifar_files.read_idx(self._find(label_file), label_file.sha256, dims=1)
        return torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64))

    def fingerprint(self) -> str:
        """Return a hash of the contents' sums, which ``_read`` has verified."""
        return digest(type(self).__name__, *(file.sha256 for pair in self.FILES.values() for file in pair))


class FashionMNIST(MNIST):
    """70,000 pictures of clothes, 28 x 28 grey (Xiao et al., 2017), from the official idx files, gzipped or not.

    They are also looked for where Debian's package dataset-fashion-mnist puts them.
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
    # image's own std, which leaves out how the images differ from one another.
    MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

    def __init__(self, augment: Augment = SHIFT_AND_FLIP, **kwargs: Any) -> None:
        super().__init__(augment=augment, **kwargs)

    def _folders(self) -> list[Path]:
        return list(dict.fromkeys(Path(self.data_dir, name) for name in (".", "CIFAR10", "cifar10", "cifar-10")))

    def prepare_data(self) -> None:
        """Download the archive, if that was asked for and nothing is there."""
        if self.download and mnist_cifar_files.find_cifar(self._folders()) is None:
            fetch(mnist_cifar_files.CIFAR_ARCHIVE, Path(self.data_dir))

    def _read(self, part: str) -> tuple[Tensor, Tensor]:
        path = mnist_cifar_files.find_cifar(self._folders())
        if path is None:
            raise UserError(
                f"CIFAR10: no {mnist_cifar_files.CIFAR_ARCHIVE.name} or cifar-10-batches-py in "
                f"{', '.join(map(str, self._folders()))}; point --data.data_dir at it, or add --data.download true to "
                f"fetch it; pictures in class folders: --data ImageFolder; offline: --data Digits"
            )
        images, labels = mnist_cifar_files.read_cifar(path, part)
        return torch.from_numpy(images), torch.from_numpy(labels)

    def fingerprint(self) -> str:
        """Return a hash of the official sums, which ``_read`` has verified."""
        return digest(type(self).__name__, *mnist_cifar_files.CIFAR_BATCHES.values())
