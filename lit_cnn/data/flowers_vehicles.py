"""Data sets of photos in class folders: Flowers and Vehicles."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from lit_cnn.data.decoding.find import visible_folders
from lit_cnn.data.decoding.geometry import Size
from lit_cnn.data.folders import ImageFolder
from lit_cnn.data.layout import split_of
from lit_cnn.data.quality.leaks import KnownPair, known_pairs
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.validation import OTHER_DATA_DIR
from lit_cnn.utils.download import PublishedFile, extract, fetch, verify

FLIP = Augment(flip=0.5)


class Flowers(ImageFolder):
    """TensorFlow's flower_photos: 3,670 photos in 5 classes, in data_dir/flower_photos or data_dir itself.

    Args:
        download: Download flower_photos.tgz (218 MiB) if the folder is missing; otherwise the network is never used.
    """

    CLASSES: ClassVar[tuple[str, ...]] = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    ARCHIVE: ClassVar[PublishedFile] = PublishedFile(
        "flower_photos.tgz",
        ("https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",),
        # Published by TensorFlow Datasets, url_checksums/tf_flowers.txt (228,813,984 bytes).
        sha256="4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    )
    HINT = (
        "point `data.data_dir` at it or the folder above it, put flower_photos.tgz in that folder, or add "
        f"`data.download=true` to fetch it from {ARCHIVE.urls[0]}"
    )

    def __init__(self, download: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.download = download

    def root(self) -> Path:
        """Return data_dir, or flower_photos in it."""
        root = Path(self.data_dir)
        inside = visible_folders(root) if root.is_dir() else []
        here = any(name in self.CLASSES or split_of(name, inside) is not None for name in inside)
        return root if here else root / "flower_photos"

    def known_leaks(self) -> list[KnownPair]:
        """Return the photos that are there twice, most of them encoded or cropped anew, and one in two classes."""
        return known_pairs("flowers")

    def data_classes(self) -> list[str]:
        """Return the class folders; before the download, the published ones."""
        return self._classes if self.root().is_dir() else list(self.CLASSES)

    def prepare_data(self) -> None:
        """Unpack flower_photos.tgz if the folder is missing, and download it first if ``download`` is set."""
        archive = Path(self.data_dir, self.ARCHIVE.name)
        if not self.root().is_dir() and (self.download or archive.is_file()):
            fetch(self.ARCHIVE, Path(self.data_dir), OTHER_DATA_DIR)
            verify(archive, self.ARCHIVE)
            extract(archive, "flower_photos", Path(self.data_dir), OTHER_DATA_DIR)
        super().prepare_data()


class Vehicles(ImageFolder):
    """Grey photos of vehicles in class folders (car, bus, truck, or any other), resized to a square.

    The test split is the tail: the last quarter of each class in sorted order.

    Args:
        channels: 1 (grey) or 3 (RGB); null: 1.
    """

    HINT = "give the folder that holds car, bus, truck or other class folders, `data.data_dir=DIR`"

    def __init__(
        self,
        split: str = "tail",
        test_fraction: float = 0.25,
        eval_resize: str = "stretch",
        augment: Augment = FLIP,
        **kwargs: Any,
    ) -> None:
        super().__init__(split=split, test_fraction=test_fraction, eval_resize=eval_resize, augment=augment, **kwargs)

    def default_shape(self) -> tuple[Size, int]:
        """Return 224 pixels, grey."""
        return 224, 1

    def known_leaks(self) -> list[KnownPair]:
        """Return the photos that are there twice, shifted by a few pixels."""
        return known_pairs("vehicles")
