"""DehazePairs: hazy photos and clear ones of the same scene, image to image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.decode import read_size
from lit_cnn.data.decoding.find import LeftOut, find_image_files
from lit_cnn.data.decoding.formats import MAX_PIXELS
from lit_cnn.data.decoding.geometry import Size, height_width
from lit_cnn.data.decoding.source import file_size
from lit_cnn.data.decoding.verify import find_broken
from lit_cnn.data.image_files import KINDS, ImageFilesDataModule
from lit_cnn.data.images import Images
from lit_cnn.data.loading.loader import Batch
from lit_cnn.data.normalization import Statistics
from lit_cnn.data.pair_source import Pair, PairSource, WholeSource
from lit_cnn.data.remote import local_folder
from lit_cnn.data.split import Split, stratified_split
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.errors import UnreadableImageError, UserError
from lit_cnn.utils.console import Display, say
from lit_cnn.utils.files import digest
from lit_cnn.utils.rank import is_rank_zero

FLIP = Augment(flip=0.5)
# operations that move pixels, and so are the same for both sides of a pair
GEOMETRIC = {
    "crop_scale", "crop_padding", "flip", "alternate_flip", "vertical_flip", "rotation", "translate", "zoom",
}  # fmt: skip
SHOWN = 5  # names in a message


class DehazePairs(ImageDataModule):
    """Hazy photos and clear ones of the same scenes, for dehazing: image to image.

    ``data_dir/hazy/001.jpg`` and ``data_dir/clear/001.jpg``: names are equal but for the extension, and so are the
    sizes of a pair, which may differ from pair to pair. The last pairs in sorted order are the test set. Training sees
    a random window of each pair, without resizing, validation and test whole images, one at a time. Values are in
    [0, 1].

    Args:
        hazy: Folder of the hazy photos in data_dir.
        clear: Folder of the clear photos in data_dir.
        test_fraction: Share of the pairs, the last ones in sorted order, that are the test set; 0: no test set.
        val_fraction: Share of the other pairs that are held out for validation; 0: none.
        image_size: Side in pixels of the windows that training sees, or height and width; null: 128. Smaller photos are
            mirrored at their borders.
        channels: 1 (grey) or 3 (RGB); null: 3.
        augment: Random flips, turns and the like of training windows, the same for both sides.
        on_bad_image: Pairs of which a side is missing, unreadable or of another size: "error": stop and name them;
            "skip": leave them out and name them.
        max_pixels: Files whose header claims more pixels count as unreadable.
    """

    task = "restoration"

    def __init__(
        self,
        hazy: str = "hazy",
        clear: str = "clear",
        test_fraction: float = 0.2,
        val_fraction: float = 0.1,
        augment: Augment = FLIP,
        on_bad_image: str = "error",
        max_pixels: int = MAX_PIXELS,
        **kwargs: Any,
    ) -> None:
        super().__init__(val_fraction=val_fraction, augment=augment, **kwargs)
        self.hazy, self.clear, self.test_fraction = hazy, clear, test_fraction
        self.on_bad_image, self.max_pixels = on_bad_image, max_pixels
        self.broken: dict[str, str] = {}  # pairs that are left out, by the path of one side, with the reason
        self._whole: str | None = None
        if hazy.strip("/") == clear.strip("/"):
            raise UserError(f"`data.hazy` and `data.clear` are both {hazy!r}: give two folders")
        if on_bad_image not in ("error", "skip"):
            raise UserError(f"`data.on_bad_image` is {on_bad_image!r}: choose error or skip")
        check_restoration(self, augment)

    def default_shape(self) -> tuple[Size, int]:
        """Return windows of 128 pixels, RGB."""
        return 128, 3

    def data_classes(self) -> list[str]:
        """Return no classes."""
        return []

    # Pairs ----

    @property
    def local_dir(self) -> Path:
        """``data_dir`` on this machine."""
        return local_folder(self.data_dir)

    @cached_property
    def _pairs(self) -> list[Pair]:
        """All pairs in sorted order, without those that are left out."""
        sides = {name: self._files_of(name) for name in (self.hazy, self.clear)}
        names = sorted(sides[self.hazy].keys() | sides[self.clear].keys())
        bad: dict[str, str] = {}
        for name in names:
            for side, other in ((self.hazy, self.clear), (self.clear, self.hazy)):
                if name not in sides[other]:
                    bad[sides[side][name]] = f"not in {other}"
        both = [name for name in names if all(name in files for files in sides.values())]
        if not both:
            raise UserError(
                f"{self.local_dir}: no photo in {self.hazy} has one of the same name in {self.clear}, such as "
                f"{self.hazy}/001.jpg and {self.clear}/001.jpg"
            )
        if self.on_bad_image == "skip":
            paths = [files[name] for name in both for files in sides.values()]
            display = Display() if is_rank_zero() else None
            bad |= find_broken(self.local_dir, paths, self.max_pixels, self._num_threads(), display)
        found = []
        for name in both:
            hazy, clear = (files[name] for files in sides.values())
            sizes = [self._size(path, bad) for path in (hazy, clear)]
            if sizes[0] is None or sizes[1] is None or hazy in bad or clear in bad:
                continue
            if sizes[0] != sizes[1]:
                bad[hazy] = "{1}x{0}, {2} is {4}x{3} pixels".format(*sizes[0], clear, *sizes[1])
            else:
                found.append(Pair(hazy, clear, sizes[0]))
        if bad:
            self._refuse_or_skip(bad, len(names))
        return found

    def _files_of(self, side: str) -> dict[str, str]:
        """Paths of the files in a folder, relative to data_dir, by name without extension."""
        folder = self.local_dir / side
        if not folder.is_dir():
            raise UserError(
                f"there is no folder {folder}: `data.data_dir` has to hold {self.hazy} and {self.clear}, with photos "
                "of the same names; `data.hazy` and `data.clear` name other folders"
            )
        left_out = LeftOut()
        files = sorted(find_image_files(folder, left_out, f"{side}/"))
        if not files:
            raise UserError(f"no images ({KINDS}) in folder {folder}{f', only {left_out}' if left_out else ''}")
        if left_out:
            say(f"{folder}: left out {left_out}", error=True)
        names = [str(Path(file).with_suffix("")) for file in files]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise UserError(
                f"{folder} has files that differ in their extension alone: {_some(twice)}; keep one of each"
            )
        return {name: f"{side}/{file}" for name, file in zip(names, files, strict=True)}

    def _size(self, path: str, bad: dict[str, str]) -> tuple[int, int] | None:
        """Height and width of a file; None where it cannot be read, which is added to ``bad``."""
        try:
            return read_size(self.local_dir / path, self.max_pixels)
        except UnreadableImageError as error:
            bad.setdefault(path, error.reason)
            return None

    def _refuse_or_skip(self, bad: dict[str, str], count: int) -> None:
        listed = _some([f"{path} ({reason})" for path, reason in bad.items()])
        line = f"{self.local_dir}: {len(bad)} of {count} pairs cannot be used: {listed}"
        if self.on_bad_image == "error":
            raise UserError(f"{line}; fix or remove them, or leave them out with `data.on_bad_image=skip`")
        if len(bad) > count / 2:
            raise UserError(f"{line}: too many to skip")
        say(f"skipped: {line}", error=True)
        self.broken = bad

    def skipped(self, split: str | None = None) -> dict[str, str]:
        """Return the pairs that were left out: path of a side to the reason."""
        return dict(self.broken)

    def fingerprint(self) -> str:
        """Return a hash of the sorted list of the files of both sides with their sizes."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        paths = [path for pair in self._pairs for path in (pair.hazy, pair.clear)]
        return digest(*(f"{path}\0{file_size(self.local_dir / path)}" for path in paths))

    # Splits ----

    @cached_property
    def _indices(self) -> dict[str, torch.Tensor]:
        everything = torch.arange(len(self._pairs))
        if self._whole is not None:
            say(f"{self.local_dir}: all {len(everything):,} pairs are the {self._whole} images")
            return {self._whole: everything}
        names, parts, train = [pair.hazy for pair in self._pairs], {}, everything
        for split, fraction in (("test", self.test_fraction), ("val", self.val_fraction)):
            members = [names[i] for i in train.tolist()]
            kept, held_out = stratified_split(
                members, torch.zeros(len(train)), fraction, seed=self.split_seed, split=split, tail=split == "test"
            )
            parts[split], train = train[held_out], train[kept]
        return {"train": train, **parts}

    def evaluate_whole(self, split: str) -> None:
        """Let all pairs be those of ``split``, "test" or "val"; before any setup."""
        self._whole = split

    def has_split(self, name: str) -> bool:
        """Whether there are pairs of split ``name``; lists the files."""
        return len(self._indices.get(name, ())) > 0

    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return the splits that have pairs."""
        shared = (self.local_dir, self._pairs, self.channels, self.max_pixels)
        windows = PairSource(*shared, crop=height_width(self.image_size), seed=self.seed)
        whole = PairSource(*shared)
        return {
            name: Split(windows if name == "train" else whole, indices)
            for name, indices in self._indices.items()
            if len(indices)
        }

    def _eval_batch_size(self, images: int) -> int:
        """Return 1, since images differ in size."""
        return 1

    # Values ----

    def _normalization(self) -> Statistics:
        return [0.0], [1.0]

    def preprocessing(self) -> dict[str, Any]:
        """Return how images are prepared: values in [0, 1]."""
        return {**super().preprocessing(), "mean": [0.0] * self.channels, "std": [1.0] * self.channels}

    def order(self) -> dict[str, Any]:
        """Return the folders of both sides beside the rest, see the base class."""
        return {**super().order(), "hazy": self.hazy, "clear": self.clear}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Scale both sides to [0, 1] and augment them alike in training; the clear one becomes the target."""
        both = super().on_after_batch_transfer(batch, dataloader_idx)
        if both is batch:  # done already
            return batch
        hazy, clear = both.image.split(self.channels, dim=1)
        return both._replace(image=hazy, target=clear)


class WholeImages(Images, listed=False):
    """Image files in their own size, one at a time and with values in [0, 1], for a network that gives images.

    Args:
        paths: As for ``Images``.
        mean: 0 for each channel, as ``DehazePairs`` has it.
        std: 1 for each channel.
    """

    task = "restoration"

    def __init__(self, paths: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(paths, **kwargs)
        check_restoration(self, self.augment)

    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return all files as "test"; there is no other split."""
        found = super().build_splits(names)["test"]
        source = WholeSource(self._found, found.source.targets, self.channels, self.max_pixels)
        return {"test": Split(source, found.indices)}

    def skipped(self, split: str | None = None) -> dict[str, str]:
        """Return the files that could not be read so far."""
        source = self._splits["test"].source if "test" in self._splits else None
        broken = source.broken if isinstance(source, WholeSource) else {}
        return {self._shown(path): reason for path, reason in sorted(broken.items())}

    def _eval_batch_size(self, images: int) -> int:
        return 1

    def _normalization(self) -> Statistics:
        return [0.0], [1.0]


def check_restoration(data: ImageDataModule, augment: Augment) -> None:
    """Refuse settings that have no meaning for images whose values and sizes are kept.

    Raises:
        UserError: Naming the setting.
    """
    if data.channels not in (1, 3):
        raise UserError(f"`data.channels` is {data.channels}: photos of pairs have 1 (grey) or 3 (RGB)")
    mean, std = data.mean, data.std
    if (mean is not None and any(mean)) or (std is not None and set(std) != {1.0}):
        raise UserError("the values of pairs are those of the photos, in [0, 1]: leave `data.mean` and `data.std` out")
    if data.normalize != "dataset" and not isinstance(data, ImageFilesDataModule):
        raise UserError("the values of pairs are those of the photos, in [0, 1]: leave `data.normalize` out")
    if data.eval_batch_size not in (None, 1):
        raise UserError("whole photos differ in size and are evaluated one at a time: leave `data.eval_batch_size` out")
    if odd := [name for name in augment.changes() if name not in GEOMETRIC]:
        raise UserError(
            f"`data.augment.{odd[0]}` would change one side of a pair into something that the other is not: leave it "
            "out; flips, turns and zooms are the same for both"
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
