"""Throughput of the input pipeline, ours and torchvision's side by side: ``python -m benchmarks.feed``.

Small images, 32 x 32 colour, batches of 128: crop with padding, flip, normalise. Compared with what torchvision's
examples do: a map-style data set of PIL images, per-sample transforms, a DataLoader with 2 processes. ``gather`` only
copies rows of the array: nothing can be faster.

Photos: a random resized crop to 224 pixels, flip, normalise. Compared with torchvision's ImageFolder with the same
transforms. Ours without a cache, in the first epoch with one (finding and decoding everything once included), and after
that.

Each measurement is an epoch, all kinds in turn, and the table gives the medians. Before the clock starts, torchvision's
processes are started and our files are found.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from benchmarks.turns import write
from lit_cnn.data import Augment, BatchLoader, ImageFolder
from lit_cnn.data.arrays import SHIFT_AND_FLIP, ArraySource
from lit_cnn.data.decoding.find import find_image_files
from lit_cnn.data.transforms.augment import augment_batch
from lit_cnn.utils import allocator

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PHOTO = (499, 665)  # height and width of the photos made where none are given
Epoch = Callable[[], int]  # goes through the images once and returns how many there were


class PILArray(Dataset[tuple[Tensor, int]]):
    """Images of an array as torchvision's CIFAR10 gives them: uint8 (N, H, W, 3) through PIL."""

    def __init__(self, images: np.ndarray, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), 0


def count(batches: Iterable[Any]) -> int:
    """Go through batches of (images, ...) and return the number of images."""
    return sum(len(batch[0]) for batch in batches)


def peer(dataset: Dataset[tuple[Tensor, int]], batch_size: int) -> Epoch:
    """An epoch of torchvision's way."""
    loader = DataLoader(
        dataset, batch_size, shuffle=True, num_workers=2, persistent_workers=True, multiprocessing_context="fork"
    )
    return lambda: count(loader)


def ours(loader: BatchLoader, augment: Augment) -> Epoch:
    """An epoch of ours, augmented and normalised on the CPU."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)

    def epoch() -> int:
        images = 0
        for batch in loader:
            out = augment_batch(batch.image, batch.index, augment=augment, seed=0, epoch=0, mean=mean, std=std)
            images += len(out)
        return images

    return epoch


def small_kinds(number: int, batch_size: int) -> dict[str, Epoch]:
    """What to measure with ``number`` random images."""
    images = torch.randint(0, 256, (number, 3, 32, 32), dtype=torch.uint8)
    source = ArraySource(images, torch.zeros(number, dtype=torch.int64), "train", 3, 32)
    loader = BatchLoader(source, torch.arange(number), batch_size=batch_size, shuffle=True)
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, 4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    dataset = PILArray(images.permute(0, 2, 3, 1).numpy(), transform)
    return {
        "torchvision, 2 processes": peer(dataset, batch_size),
        "gather": lambda: count(loader),
        "lit-cnn": ours(loader, SHIFT_AND_FLIP),
    }


def make_photos(folder: Path, number: int) -> None:
    """Write JPEGs of smooth noise in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (50, 67, 3), dtype=np.uint8))
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        coarse.resize(PHOTO[::-1], Image.Resampling.BICUBIC).save(folder / "ab"[i % 2] / f"{i}.jpg", quality=90)


def link_photos(source: Path, folder: Path, number: int) -> None:
    """Choose ``number`` photos of class folders, evenly, by links."""
    found = sorted(find_image_files(source))
    for name in found[:: max(1, len(found) // number)][:number]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to((source / name).resolve())


def photo_kinds(folder: Path, cache: Path, batch_size: int, size: int) -> dict[str, Epoch]:
    """What to measure with a folder of photos."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def fed(kind: str) -> Epoch:
        # Nearly all of them are for training: a share so small rounds to one image of each class.
        data = ImageFolder(
            data_dir=str(folder), batch_size=batch_size, image_size=size, workers=2, cache=kind,
            test_fraction=1e-6, val_fraction=1e-6,
        )  # fmt: skip
        data.setup("fit")
        return ours(data.train_dataloader(), Augment(flip=0.5))

    def first() -> int:
        with tempfile.TemporaryDirectory() as empty, mock.patch.dict(os.environ, LIT_CNN_CACHE=empty):
            return fed("disk")()

    with mock.patch.dict(os.environ, LIT_CNN_CACHE=str(cache)):
        later = fed("disk")
        later()  # builds

    return {
        "torchvision, 2 processes": peer(datasets.ImageFolder(str(folder), transform), batch_size),
        "lit-cnn, cache none": fed("none"),
        "lit-cnn, cache disk, first epoch": first,
        "lit-cnn, cache disk, later epochs": later,
    }


def measure(kinds: dict[str, Epoch], repeats: int) -> dict[str, float]:
    """Median images per second of each kind, measured in turn after an epoch to warm up."""
    speeds: dict[str, list[float]] = {name: [] for name in kinds}
    for repeat in range(repeats + 1):
        for name, epoch in kinds.items():
            start = time.perf_counter()
            images = epoch()
            if repeat:
                speeds[name].append(images / (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in speeds.items()}


def table(title: str, found: dict[str, float]) -> None:
    """Print images per second, and the factor over the first kind."""
    first = next(iter(found.values()))
    print(f"\n{title}")
    for name, speed in found.items():
        print(f"  {name:34} {speed:11,.0f} img/s {speed / first:8.1f} x")


def main(args: Sequence[str] | None = None) -> None:
    """Print the tables, and write them as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="class folders of photos (JPEGs of noise, 499 x 665)")
    parser.add_argument("--images", type=int, default=20_000, help="how many small images (20000)")
    parser.add_argument("--photos", type=int, default=512, help="how many photos (512)")
    parser.add_argument("--size", type=int, default=224, help="of the crops of photos, in pixels (224)")
    parser.add_argument("--batch-size", type=int, default=128, help="images a batch (128)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind (3)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    given = parser.parse_args(args)
    allocator.keep_freed_memory()  # as every command does
    small = measure(small_kinds(given.images, given.batch_size), given.repeats)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        if given.data_dir is None:
            make_photos(photos, given.photos)
        else:
            link_photos(given.data_dir, photos, given.photos)
        large = measure(photo_kinds(photos, Path(folder, "cache"), given.batch_size, given.size), given.repeats)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} before the end")
    table(f"{given.images:,} images of 32 x 32: crop, flip, normalise", small)
    table(f"{given.photos:,} photos: random resized crop to {given.size}, flip, normalise", large)
    write(given.json, {"small": small, "photos": large, "batch_size": given.batch_size, "load": os.getloadavg()[0]})


if __name__ == "__main__":
    main()
