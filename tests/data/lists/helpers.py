"""Small images, and lists of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lit_cnn.data import ImageList

from ..helpers import pixels


def write_images(root: Path, names: Sequence[str]) -> None:
    """One small image of its own for each name."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number, 16, 18)).save(root / name)


def write_list(path: Path, header: str, rows: Sequence[Sequence[str]], separator: str = ",") -> Path:
    """A CSV file; the header has its columns separated by commas."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return path


def image_list(path: Path, **kwargs: Any) -> ImageList:
    """A data set of small images in few threads."""
    return ImageList(data_dir=str(path), **{"image_size": 8, "workers": 1, "batch_size": 4, **kwargs})


def labels_of(data: ImageList, split: str) -> dict[str, str]:
    """Label of each image of a split, by name."""
    part = data.splits()[split]
    return {data.sample_name(split, i): data.class_names[int(part.source.targets[i])] for i in part.indices.tolist()}
