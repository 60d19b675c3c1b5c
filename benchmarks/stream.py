"""Throughput of sharded data sets, ours and three libraries', beside a folder: ``python -m benchmarks.stream``.

Three tables, all of small JPEGs on a local disk, medians of kinds that take turns:

- reading: the bytes of every file and its class, in a training order, by one thread, nothing decoded;
- resuming: from an opened set to the first sample of the last tenth of an epoch, as after a stop. A library that only
  iterates reads everything before it; one with random access is given the sample's number;
- feeding: decoded, a random crop, flipped, normalised. Compared with torchvision's ImageFolder and a WebDataset
  pipeline, each in a DataLoader with 2 processes.

Each library writes its own shards from the same files. Libraries that are not installed are skipped.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.feed import MEAN, STD, Epoch, count, measure, ours, peer, table
from benchmarks.turns import write
from lit_cnn.data import Augment, ImageDataModule, ImageFolder, Stream
from lit_cnn.data.decoding.find import find_image_files
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.shards.format import write_shards

Sample = tuple[bytes, int]


class Kind:
    """A way to store and read a set: an epoch in training order, and the sample at a position of it."""

    def __init__(self, epoch: Callable[[], Iterator[Sample]], at: Callable[[int], Sample] | None = None) -> None:
        self.epoch = epoch
        self.at = at or (lambda position: next(islice(epoch(), position, None)))

    def read(self) -> int:
        """Go through an epoch and return the number of samples."""
        return sum(len(content) > 0 for content, _ in self.epoch())


def make_images(folder: Path, number: int) -> None:
    """Write JPEGs of noise, 32 x 32, in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(number):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / "ab"[i % 2] / f"{i}.jpg")


def copy_images(source: Path, folder: Path, number: int) -> None:
    """Choose ``number`` images of class folders, evenly. Not by links: following them takes as long as opening."""
    found = sorted(find_image_files(source))
    for name in found[:: max(1, len(found) // number)][:number]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)


def settings(size: int, batch_size: int) -> dict[str, Any]:
    """Of both our data sets. Nearly all images are for training: a share so small rounds to one of each class."""
    return {"batch_size": batch_size, "image_size": size, "workers": 2, "val_fraction": 1e-6}


def folder_kind(data: ImageFolder) -> Kind:
    """Files of a folder in random order."""
    part = data.splits()["train"]
    assert isinstance(part.source, FileSource)
    source = part.source

    def at(row: int) -> Sample:
        return (source.root / source.paths[row]).read_bytes(), int(source.targets[row])

    def order() -> list[int]:
        return data._training_order(part.indices, 0, 0).tolist()

    return Kind(lambda: map(at, order()), lambda position: at(order()[position]))


def stream_kind(data: Stream) -> Kind:
    """Our shards in the order of ``Stream``."""
    part, source = data.splits()["train"], data._source

    def at(row: int) -> Sample:
        return source.image_file(row).content, int(source.targets[row])

    def order() -> list[int]:
        return data._training_order(part.indices, 0, 0).tolist()

    return Kind(lambda: map(at, order()), lambda position: at(order()[position]))


def webdataset_kind(shards: Sequence[str], library: Any) -> Kind:
    """The same shards by WebDataset: shards in random order, a shuffle buffer of 1000 samples."""

    def epoch() -> Iterator[Sample]:
        samples = library.WebDataset(shards, shardshuffle=len(shards), seed=0).shuffle(1000)
        return ((sample["jpg"], int(sample["cls"])) for sample in samples)

    return Kind(epoch)


def litdata_kind(samples: Sequence[Sample], folder: Path, shard_bytes: int, library: Any) -> Kind:
    """LitData's chunks by its StreamingDataset."""
    cache = library.streaming.cache.Cache(str(folder), chunk_bytes=shard_bytes)
    for i, (content, target) in enumerate(samples):
        cache[i] = {"image": content, "class": target}
    cache.done()
    cache.merge()

    def open_image() -> Any:
        return library.StreamingDataset(str(folder), shuffle=True, seed=0)

    def at(position: int) -> Sample:
        found = open_image()[position]
        return found["image"], found["class"]

    return Kind(lambda: ((found["image"], found["class"]) for found in open_image()), at)


def mosaicml_kind(samples: Sequence[Sample], folder: Path, shard_bytes: int, library: Any) -> Kind:
    """MosaicML's MDS shards, by random access: its own order needs shared memory and a process group."""
    columns = {"image": "bytes", "class": "int"}
    with library.MDSWriter(out=str(folder), columns=columns, size_limit=shard_bytes) as writer:
        for content, target in samples:
            writer.write({"image": content, "class": target})

    def at(position: int, found: Any = None) -> Sample:
        sample = (found or library.LocalDataset(str(folder)))[position]
        return sample["image"], sample["class"]

    def epoch() -> Iterator[Sample]:
        found = library.LocalDataset(str(folder))
        return (at(position, found) for position in torch.randperm(len(samples)).tolist())

    return Kind(epoch, at)


LIBRARIES: dict[str, tuple[str, Callable[..., Kind]]] = {
    "litdata": ("litdata", litdata_kind),
    "mosaicml-streaming": ("streaming", mosaicml_kind),
}


def kinds(data: ImageFolder, stream: Stream, where: Path, shard_bytes: int) -> dict[str, Kind]:
    """Everything that is installed."""
    shards = sorted(map(str, Path(stream.data_dir).glob("train-*.tar")))
    found = {"folder": folder_kind(data), "lit-cnn Stream": stream_kind(stream)}
    found["webdataset"] = webdataset_kind(shards, importlib.import_module("webdataset"))
    samples = list(found["folder"].epoch())
    for name, (module, make) in LIBRARIES.items():
        try:
            library = importlib.import_module(module)
        except ImportError as error:
            print(f"{name} is skipped: {error}")
            continue
        found[name] = make(samples, where / module, shard_bytes, library)
    return found


def feeding(data: ImageDataModule, stream: Stream, size: int, batch_size: int) -> dict[str, Epoch]:
    """Complete pipelines, from files to normalised batches."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    shards = sorted(map(str, Path(stream.data_dir).glob("train-*.tar")))
    library = importlib.import_module("webdataset")

    def decoded(sample: dict[str, Any]) -> tuple[torch.Tensor, int]:
        return transform(Image.open(io.BytesIO(sample["jpg"])).convert("RGB")), int(sample["cls"])

    pipeline = library.WebDataset(shards, shardshuffle=len(shards), seed=0, empty_check=False).shuffle(1000)
    loader = DataLoader(
        pipeline.map(decoded), batch_size, num_workers=2, persistent_workers=True, multiprocessing_context="fork"
    )
    for each in (data, stream):
        each.setup("fit")
    return {
        "torchvision, 2 processes": peer(datasets.ImageFolder(data.data_dir, transform), batch_size),
        "webdataset, 2 processes": lambda: count(loader),
        "lit-cnn ImageFolder, 2 threads": ours(data.train_dataloader(), Augment(flip=0.5)),
        "lit-cnn Stream, 2 threads": ours(stream.train_dataloader(), Augment(flip=0.5)),
    }


def resuming(found: dict[str, Kind], position: int, repeats: int) -> dict[str, float]:
    """Median seconds to the sample at ``position``."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(repeats):
        for name, kind in found.items():
            start = time.perf_counter()
            kind.at(position)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main(args: Sequence[str] | None = None) -> None:
    """Print the tables, and write them as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="class folders of JPEGs (images of noise, 32 x 32)")
    parser.add_argument("--images", type=int, default=20_000, help="how many images (20000)")
    parser.add_argument("--shard-kb", type=int, default=4_000, help="size of a shard, in kB (4000)")
    parser.add_argument("--size", type=int, default=32, help="of the crops, in pixels (32)")
    parser.add_argument("--batch-size", type=int, default=128, help="images a batch (128)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind (3)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    given = parser.parse_args(args)
    shard_bytes = given.shard_kb * 1000
    with tempfile.TemporaryDirectory() as scratch:
        images, shards = Path(scratch, "images"), Path(scratch, "shards")
        if given.data_dir is None:
            make_images(images, given.images)
        else:
            copy_images(given.data_dir, images, given.images)
        ours_too = settings(given.size, given.batch_size)
        data = ImageFolder(data_dir=str(images), test_fraction=1e-6, **ours_too)
        parts = data.splits()
        assert isinstance(parts["train"].source, FileSource)
        write_shards(shards, parts["train"].source, parts, data.class_names, shard_bytes)
        stream = Stream(data_dir=str(shards), **ours_too)
        found = kinds(data, stream, Path(scratch), shard_bytes)
        reading = measure({name: kind.read for name, kind in found.items()}, given.repeats)
        waits = resuming(found, len(parts["train"].indices) * 9 // 10, given.repeats)
        fed = measure(feeding(data, stream, given.size, given.batch_size), given.repeats)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} before the end")
    table(f"reading {given.images:,} files, nothing decoded", reading)
    print("\nresuming after nine tenths of an epoch")
    for name, seconds in waits.items():
        print(f"  {name:34} {seconds * 1000:11,.1f} ms")
    table(f"feeding: random resized crop to {given.size}, flip, normalise", fed)
    write(given.json, {"reading": reading, "resuming": waits, "feeding": fed, "load": os.getloadavg()[0]})


if __name__ == "__main__":
    main()
