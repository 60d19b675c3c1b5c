"""Stream: a set of shards as a LightningDataModule, on this machine or at an address."""

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

from lit_cnn.data.datamodule import Part
from lit_cnn.data.decoding.decode import Geometry, check_image
from lit_cnn.data.decoding.formats import Encoded
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.folders import CROP_AND_FLIP
from lit_cnn.data.image_files import PictureDataModule
from lit_cnn.data.shards.format import INDEX, MANIFEST, PARTS, Index, Manifest, Shard
from lit_cnn.data.shards.storage import Place, place
from lit_cnn.data.split import cut
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.transforms.rng import digest, shard_order, windowed_permutation
from lit_cnn.errors import UserError


class ShardSource(FileSource):
    """Pictures in shards, found by an index and decoded when asked for.

    Args:
        files: Gives out the shards.
        shards: All of them, in the order the index counts them.
        index: Where the pictures are.
        targets: int64 (N,).
        geometry: Size and channels of the results.
        augment: Of it only the random resized crop is done here.
        seed: Of the run; decides crops and order.
        window: Shards whose samples are mixed.
    """

    def __init__(
        self,
        files: Place,
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
        self._asked = (-1, -1)  # epoch and window of the shards that were asked for last

    def picture(self, row: int) -> Encoded:
        """Read a picture's bytes.

        Raises:
            UserError: The shard cannot be read, or is not as it was written.
        """
        shard = self.shards[int(self.index.shard[row])]
        content = self._content(shard, row)
        if content is None and self.files.renew(shard):
            content = self._content(shard, row)
        if content is None:
            raise UserError(
                f"{self.files.shown}: {shard.name} is cut off or was changed, at {self.paths[row]}: write or copy the "
                "shards again"
            )
        return Encoded(f"{self.paths[row]} in {shard.name}", content)

    def _content(self, shard: Shard, row: int) -> bytes | None:
        """Read a picture's bytes; None if they are not those that were written."""
        with self.files.open(shard) as file:
            file.seek(int(self.index.start[row]))
            content = file.read(int(self.index.size[row]))
        return content if zlib.crc32(content) == self.index.check[row] else None

    def shuffled(self, rows: Tensor, seed: int, epoch: int) -> Tensor:
        """Return training ``rows`` in the order of an epoch, see ``windowed_permutation``."""
        shard = np.searchsorted(self._train, self.index.shard[rows.numpy()])
        return rows[windowed_permutation(seed, epoch, torch.from_numpy(shard), len(self._train), self.window)]

    def in_reading_order(self, rows: Tensor) -> Tensor:
        """Return ``rows`` as they lie in the shards."""
        return rows[np.lexsort((self.index.start[rows.numpy()], self.index.shard[rows.numpy()]))]

    def tasks(self, rows: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        """Return one function a picture, and ask for the shards that come next."""
        if len(rows):
            self._ask_ahead(int(self.index.shard[int(rows[-1])]), epoch)
        return super().tasks(rows, out, epoch)

    def _ask_ahead(self, shard: int, epoch: int | None) -> None:
        """Ask once for the shards of this window and the next; in evaluation, for this shard and the next.

        Which they are follows from seed and epoch.
        """
        if epoch is None:
            where, soon = (-1, shard), np.arange(shard, min(shard + 2, len(self.shards)))
        else:
            order = self._shard_order(epoch)
            window = int(np.flatnonzero(order == shard)[0]) // self.window
            where, soon = (epoch, window), order[window * self.window :][: 2 * self.window]
            if (window + 1) * self.window >= len(order):  # the last one
                soon = np.concatenate([soon, self._shard_order(epoch + 1)[: self.window]])
        if where != self._asked:
            self._asked = where
            self.files.ahead([self.shards[int(i)] for i in soon])

    def _shard_order(self, epoch: int) -> np.ndarray:
        return self._train[shard_order(self.seed, epoch, len(self._train)).numpy()]


class Stream(PictureDataModule):
    """A set of shards, written by ``lit-cnn prepare --data ImageFolder --data.data_dir PHOTOS --shards DIR``.

    Shards are few large files, which network disks and object stores hand out many times faster than many small ones.
    The order of an epoch is a pure function of seed and epoch, as with every set, and needs only a few shards at a
    time; so a run resumes exactly, in the middle of an epoch too, and reads nothing twice for it.

    Args:
        data_dir: Folder of the shards, or an address (http://, https://, gs://), which needs the webdataset package.
        val_fraction: Share of the training images cut off for validation where the set has no validation part.
        augment: Random changes to training images.
        shard_window: Training images are mixed within so many shards at a time; the order of the shards is random.
        shard_cache_gb: How much of an address's shards to keep on this machine, in GB of 10^9 bytes, in
            $LIT_CNN_CACHE or ~/.cache/lit_cnn. At least two windows.
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
            raise UserError(f"data.shard_window is {shard_window}: it must be at least 1")
        if not shard_cache_gb > 0:
            raise UserError(f"data.shard_cache_gb is {shard_cache_gb}: it must be above 0")
        if self.cache != "none":
            raise UserError(f"data.cache is {self.cache}: Stream decodes in every epoch; ImageFolder has a cache")
        if self.on_bad_image != "error":
            raise UserError(
                "data.on_bad_image is skip: shards leave bad images out when they are written, by lit-cnn prepare "
                "--data.on_bad_image skip --shards DIR"
            )

    # The files ----

    @cached_property
    def _place(self) -> Place:
        return place(self.data_dir, int(self.shard_cache_gb * 1e9))

    @cached_property
    def _manifest(self) -> Manifest:
        return Manifest.parse(self._place.manifest(), f"{self._place.shown}/{MANIFEST}")

    @cached_property
    def _index(self) -> Index:
        file, content = self._manifest.index, b""
        for _ in range(2):
            with self._place.open(file) as opened:
                content = opened.read()
            if hashlib.sha256(content).hexdigest() == file.sha256 or not self._place.renew(file):
                break
        return Index.parse(content, self._manifest, f"{self._place.shown}/{INDEX}")

    @cached_property
    def _source(self) -> ShardSource:
        shards, index = self._manifest.shards, self._index
        self._place.check(shards, 2 * self.shard_window)
        targets = self._fixed_targets(torch.from_numpy(index.target))
        geometry = self._geometry()
        return ShardSource(self._place, shards, index, targets, geometry, self.augment, self.seed, self.shard_window)

    def _own_classes(self) -> list[str]:
        return self._manifest.classes

    def all_paths(self) -> tuple[Path, list[str]]:
        """Return the names of the pictures; they are in no folder."""
        return Path(), self._index.names

    @cached_property
    def broken(self) -> dict[str, str]:
        """The pictures that cannot be read, with the reason. Decodes them all."""
        source = self._source
        rows = self._in_reading_order(torch.arange(len(source))).tolist()
        with ThreadPoolExecutor(max(1, self._workers()), thread_name_prefix="lit_cnn-scan") as pool:
            verdicts = pool.map(lambda row: check_image(source.picture(row), self.max_pixels)[0], rows)
            found = dict(zip(rows, verdicts, strict=True))
        return {name: reason for row, name in enumerate(source.paths) if (reason := found[row]) is not None}

    def fingerprint(self) -> str:
        """Return a hash of the sorted list of files with their sizes: that of the folder they came from."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        sizes = zip(self._index.names, self._index.size.tolist(), strict=True)
        return digest(*(f"{name}\0{size}" for name, size in sorted(sizes)))

    # Parts and order ----

    def parts(self) -> dict[str, Part]:
        """Read every part there is."""
        return self._build([])

    def _build(self, names: Sequence[str]) -> dict[str, Part]:
        source = self._source
        shard_part = np.array([PARTS.index(shard.part) for shard in source.shards])
        part = shard_part[source.index.shard]
        rows = {name: torch.from_numpy(np.flatnonzero(part == i)) for i, name in enumerate(PARTS) if i in part}
        if "train" in rows and "val" not in rows:
            train = rows["train"]
            kept, off = cut(
                [source.paths[row] for row in train.tolist()],
                source.targets[train],
                self.val_fraction,
                seed=self.split_seed,
                class_names=self.class_names,
                part="val",
            )
            rows["train"], rows["val"] = train[kept], train[off]
        for name in names:
            if name not in rows:
                raise UserError(f"the shards in {self._place.shown} have no {name} images, only {', '.join(rows)}")
        return {name: Part(source, members) for name, members in rows.items()}

    def _shuffled(self, rows: Tensor, seed: int, epoch: int) -> Tensor:
        return self._source.shuffled(rows, seed, epoch)

    def _in_reading_order(self, rows: Tensor) -> Tensor:
        return self._source.in_reading_order(rows)

    def order(self) -> dict[str, Any]:
        """Return how images are mixed, see the base class."""
        return {**super().order(), "shard_window": self.shard_window}
