"""What a set of image files holds, by the headers of some of them: for choosing settings and models."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from PIL import Image

from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.image_files import ImageFilesDataModule
from lit_cnn.data.multilabel import images_per_class

SAMPLE = 50  # files whose headers are read
GREY = ("1", "L", "LA", "I", "I;16")  # Pillow's modes without colours


class Summary(NamedTuple):
    """A set of image files.

    Attributes:
        images: number in all splits.
        train: number in the training split; 0 where there is none.
        classes: number of classes.
        side: median of the shorter sides, in pixels.
        grey: whether no image has colours.
        multilabel: whether images have any number of labels.
    """

    images: int
    train: int
    classes: int
    side: int
    grey: bool
    multilabel: bool = False


def summarize(data: ImageFilesDataModule) -> Summary:
    """Count the images of a data set and read the headers of some, the same ones in every process.

    Raises:
        UserError: the data set has no images, or cannot be read.
    """
    splits = data.splits()
    root, paths = data.all_paths()
    sides, grey = [], []
    for path in paths[:: max(1, len(paths) // SAMPLE)]:
        try:
            with Image.open(root / path) as image:
                sides.append(min(image.size))
                grey.append(image.mode in GREY)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # training names it
    return Summary(
        images=sum(len(split.indices) for split in splits.values()),
        train=len(splits["train"].indices) if "train" in splits else 0,
        classes=data.num_classes,
        side=round(statistics.median(sides)) if sides else 224,
        grey=bool(grey) and all(grey),
        multilabel=data.multilabel,
    )


def class_counts(data: ImageDataModule, built: bool = False) -> dict[str, list[int]]:
    """Images of each class, in the order of ``class_names``, by split; with ``built`` of those that are built already.

    Building the others may mean reading, or fetching, further files.
    """
    splits, count = data._splits if built else data.splits(), data.num_classes
    return {
        name: images_per_class(splits[name].source.targets[splits[name].indices], count).tolist()
        for name in ("train", "val", "test")
        if name in splits
    }
