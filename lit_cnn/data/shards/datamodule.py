"""Stream: a data set of shards, in a local folder or at a remote address."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_cnn.data.decoding.decode import check_image
from lit_cnn.data.decoding.formats import EncodedImage
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.folders import CROP_AND_FLIP
from lit_cnn.data.image_files import ImageFilesDataModule
from lit_cnn.data.shards.format import INDEX, MANIFEST, SPLITS, Index, Manifest, Shard
from lit_cnn.data.shards.storage import Storage, open_storage
from lit_cnn.data.split import Split, hold_out
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.transforms.rng import shard_order, windowed_permutation
from lit_cnn.errors import UserError
from lit_cnn.utils.files import digest


class ShardSource(FileSource):
    """Samples in shards, decoded on demand.

    Args:
        files: Storage of the shards.
        shards: All of them, in the order of the index.
        index: Positions of the image files.
        targets: int64 (N,).
        geometry: Size and channels of the results.
        augment: Only its random resized crop is done here.
        seed: The run's seed; decides crops and order.
        window: Number of shards whose samples are shuffled together.
    """

    def __init__(
        self,
        files: Storage,
        shards: Sequence[Shard],
        index: Index,
        targets: Tensor,
        geometry: Geometry,
        augment: Augment,
        seed: int,
        window: int,
    ) -> None:
        super().__init__(Path(), index.names, targets, geometry, augment, seed)
        self.files, self.shards, self.index, self.window = files, shards, index, window
        self._train = np.array([i for i, shard in enumerate(shards) if shard.part == "train"], np.int64)
        self._prefetched = (-1, -1)  # epoch and window of the last prefetch

    def image_file(self, index: int) -> EncodedImage:
        """Read the content of a sample's file.

        Raises:
            UserError: The shard cannot be read, or was changed after it was written.
        """
        shard = self.shards[int(self.index.shard[index])]
        content = self._content(shard, index)
        if content is None and self.files.refetch(shard):
            content = self._content(shard, index)
        if content is None:
            raise UserError(
                f"{self.files.label}: {shard.name} is truncated or was changed, at {self.paths[index]}: write or copy "
                "the shards again"
            )
        return EncodedImage(f"{self.paths[index]} in {shard.name}", content)

    def _content(self, shard: Shard, index: int) -> bytes | None:
        """Read the content of a sample's file; None if its checksum is wrong."""
        with self.files.open(shard) as file:
            file.seek(int(self.index.start[index]))
            content = file.read(int(self.index.size[index]))
        return content if zlib.crc32(content) == self.index.check[index] else None

    def training_order(self, indices: Tensor, seed: int, epoch: int) -> Tensor:
        """Return training ``indices`` in the order of an epoch, see ``windowed_permutation``."""
        shard = np.searchsorted(self._train, self.index.shard[indices.numpy()])
        return indices[windowed_permutation(seed, epoch, torch.from_numpy(shard), len(self._train), self.window)]

    def reading_order(self, indices: Tensor) -> Tensor:
        """Return ``indices`` in the order of the shards."""
        return indices[np.lexsort((self.index.start[indices.numpy()], self.index.shard[indices.numpy()]))]

    def tasks(self, indices: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function per image, and prefetch the next shards."""
        if len(indices):
            self._prefetch(int(self.index.shard[int(indices[-1])]), epoch)
        return super().tasks(indices, out, epoch)

    def _prefetch(self, shard: int, epoch: int | None) -> None:
        """Prefetch the shards of this window and the next, once; in evaluation, this shard and the next.

        They follow from seed and epoch.
        """
        if epoch is None:
            where, soon = (-1, shard), np.arange(shard, min(shard + 2, len(self.shards)))
        else:
            order = self._shard_order(epoch)
            window = int(np.flatnonzero(order == shard)[0]) // self.window
            where, soon = (epoch, window), order[window * self.window :][: 2 * self.window]
            if (window + 1) * self.window >= len(order):  # the last one
                soon = np.concatenate([soon, self._shard_order(epoch + 1)[: self.window]])
        if where != self._prefetched:
            self._prefetched = where
            self.files.prefetch([self.shards[int(i)] for i in soon])

    def _shard_order(self, epoch: int) -> np.ndarray:
        return self._train[shard_order(self.seed, epoch, len(self._train)).numpy()]


class Stream(ImageFilesDataModule):
    """A data set of shards, which ``lit-cnn prepare`` writes from an ImageFolder.

    Shards are few large files, which network disks and object stores serve many times faster than many small ones.
    The order of an epoch is a pure function of seed and epoch, as for every data set, and needs only a few shards at a
    time; so a run resumes exactly, even in the middle of an epoch, and reads nothing twice for it.

    Args:
        data_dir: Folder of the shards, or an address: http://, https://, s3://, gs://, hf:// or another of fsspec's.
        val_fraction: Share of the training images held out for validation where there is no validation split; 0: none.
        augment: Random augmentation of training images.
        shard_window: Number of shards whose training images are shuffled together; the order of shards is random.
        shard_cache_gb: Size of the local cache of remote shards, in GB of 10^9 bytes, in $LIT_CNN_CACHE or
            ~/.cache/lit_cnn. At least two windows.
    """

    def __init__(
        self,
        val_fraction: float = 0.1,
        augment: Augment = CROP_AND_FLIP,
        shard_window: int = 16,
        shard_cache_gb: float = 20.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(val_fraction=val_fraction, augment=augment, **kwargs)
        self.shard_window, self.shard_cache_gb = shard_window, shard_cache_gb
        if shard_window < 1:
            raise UserError(f"`data.shard_window` is {shard_window}: it must be at least 1")
        if not shard_cache_gb > 0:
            raise UserError(f"`data.shard_cache_gb` is {shard_cache_gb}: it must be above 0")
        if self.cache != "none":
            raise UserError(f"`data.cache` is {self.cache}: Stream decodes in every epoch; ImageFolder has a cache")
        if self.sampling != "natural":
            raise UserError(
                f"`data.sampling` is {self.sampling}: shards are read one after the other; ImageFolder has it, or set "
                "`model.class_weights=balanced`"
            )
        if self.on_bad_image != "error":
            raise UserError(
                "`data.on_bad_image` is skip: bad images are skipped when shards are written, by lit-cnn prepare "
                "`data.on_bad_image=skip` `shards=DIR`"
            )

    # The files ----

    @cached_property
    def _storage(self) -> Storage:
        return open_storage(self.data_dir, int(self.shard_cache_gb * 1e9))

    @cached_property
    def _manifest(self) -> Manifest:
        return Manifest.parse(self._storage.manifest(), f"{self._storage.label}/{MANIFEST}")

    @cached_property
    def _index(self) -> Index:
        file, content = self._manifest.index, b""
        for _ in range(2):
            with self._storage.open(file) as opened:
                content = opened.read()
            if hashlib.sha256(content).hexdigest() == file.sha256 or not self._storage.refetch(file):
                break
        return Index.parse(content, self._manifest, f"{self._storage.label}/{INDEX}")

    @cached_property
    def _source(self) -> ShardSource:
        shards, index = self._manifest.shards, self._index
        self._storage.check(shards, 2 * self.shard_window)
        targets = self.remap_targets(torch.from_numpy(index.target))
        geometry = self._geometry()
        return ShardSource(self._storage, shards, index, targets, geometry, self.augment, self.seed, self.shard_window)

    def data_classes(self) -> list[str]:
        """Return the class names in the manifest."""
        return self._manifest.classes

    def all_paths(self) -> tuple[Path, list[str]]:
        """Return the names of the image files; there is no folder."""
        return Path(), self._index.names

    @cached_property
    def broken(self) -> dict[str, str]:
        """Unreadable files: name to reason. Decodes every file once."""
        source = self._source
        indices = self._reading_order(torch.arange(len(source))).tolist()
        with ThreadPoolExecutor(max(1, self._num_threads()), thread_name_prefix="lit_cnn-scan") as pool:
            verdicts = pool.map(
                lambda index: check_image(source.image_file(index), self.max_pixels, self._geometry())[0], indices
            )
            found = dict(zip(indices, verdicts, strict=True))
        return {name: reason for index, name in enumerate(source.paths) if (reason := found[index]) is not None}

    def fingerprint(self) -> str:
        """Return the fingerprint of the ImageFolder that the shards were written from."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        sizes = zip(self._index.names, self._index.size.tolist(), strict=True)
        return digest(*(f"{name}\0{size}" for name, size in sorted(sizes)))

    # Splits and order ----

    def has_split(self, name: str) -> bool:
        """Whether there are images of split ``name``; fetches the index."""
        return name in self.splits()

    def splits(self) -> dict[str, Split]:
        """Build and return every split of the data set."""
        return self.build_splits([])

    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return every split of the shards, and "val"."""
        source = self._source
        split_of_shard = np.array([SPLITS.index(shard.part) for shard in source.shards])
        number = split_of_shard[source.index.shard]
        splits = {name: torch.from_numpy(np.flatnonzero(number == i)) for i, name in enumerate(SPLITS) if i in number}
        if "train" in splits and "val" not in splits:
            splits = hold_out(
                splits,
                {"val": self.val_fraction},
                source.paths,
                source.targets,
                seed=self.split_seed,
                class_names=self.class_names,
            )
        for name in names:
            if name not in splits:
                raise UserError(f"the shards in {self._storage.label} have no {name} images, only {', '.join(splits)}")
        return {name: Split(source, indices) for name, indices in splits.items()}

    def _training_order(self, indices: Tensor, seed: int, epoch: int) -> Tensor:
        return self._source.training_order(indices, seed, epoch)

    def _reading_order(self, indices: Tensor) -> Tensor:
        return self._source.reading_order(indices)

    def order(self) -> dict[str, Any]:
        """Return how images are shuffled, see the base class."""
        return {**super().order(), "shard_window": self.shard_window}
