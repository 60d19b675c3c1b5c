"""ImageFilesDataModule, base class of data sets of image files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from lit_cnn.data import validation
from lit_cnn.data.cache.source import CachedSource
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.bands import parse_value_range
from lit_cnn.data.decoding.find import LeftOut
from lit_cnn.data.decoding.formats import MAX_PIXELS
from lit_cnn.data.decoding.geometry import Geometry, Size, height_width
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.decoding.verify import find_broken
from lit_cnn.data.remote import local_folder
from lit_cnn.data.split import Split
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.errors import UserError
from lit_cnn.utils.console import Display, say
from lit_cnn.utils.files import cache_folder
from lit_cnn.utils.rank import is_rank_zero

KINDS = "jpg, png, webp and the like"  # in messages; see EXTENSIONS


class ImageFilesDataModule(ImageDataModule):
    """Base class of data sets of image files.

    Args:
        image_size: Side in pixels of the model's input, or height and width (96x128); null: 224.
        channels: 1 (grey), 3 (RGB), or the number of bands of NumPy and TIFF files; null: 3.
        normalize: "imagenet" (for 1 or 3 channels), or "computed" (over the training images).
        resize: How images get the size, in training and evaluation. "crop": a random resized crop
            (augment.crop_scale), in evaluation the centre; "squash": both sides are resized, whatever the aspect ratio;
            "letterbox": resized to fit, with borders of ImageNet's mean colour. The last two keep the whole image, so
            there is no random resized crop. null: as eval_resize says, which is for evaluation alone.
        eval_resize: "center_crop": resize the shorter side, then crop the centre; "stretch" is squash; "letterbox".
        eval_crop: Share of the shorter side that center_crop keeps; null: 0.875 (224 of 256) for an image_size of 128
            or more, else 1.
        on_bad_image: "error": stop at an unreadable file and name it; "skip": find and list these before training.
        max_pixels: Files whose header claims more pixels count as unreadable.
        value_range: Values that become black and white in images that are not of 8 bits, such as [0, 10000]; others are
            clipped. null: 0 and 65535 for uint16, 0 and 1 for floats, which must lie between them.
        cache: Training and validation images, decoded once before training: "disk" keeps them in one file for all
            processes and later runs (in $LIT_CNN_CACHE or ~/.cache/lit_cnn), "ram" in each process's memory, "none"
            decodes in every epoch. For a random resized crop (augment.crop_scale) uncropped images are kept, large
            ones downsized (cache_size), and the crops are taken from these: a little less sharp than with "none".
            Everything else is the same, bit for bit.
        cache_size: Largest shorter side in pixels of the uncropped images kept; null: 1.5 times (the longer
            side of) image_size.
    """

    def __init__(
        self,
        normalize: str = "imagenet",
        resize: str | None = None,
        eval_resize: str = "center_crop",
        eval_crop: float | None = None,
        on_bad_image: str = "error",
        max_pixels: int = MAX_PIXELS,
        value_range: tuple[float, float] | None = None,
        cache: str = "none",
        cache_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(normalize=normalize, **kwargs)
        self.on_bad_image, self.max_pixels, longest = on_bad_image, max_pixels, max(height_width(self.image_size))
        self.value_range = parse_value_range(value_range)
        self.eval_resize = validation.check_resize(type(self), resize, eval_resize)
        if resize in ("squash", "letterbox"):
            self.augment = replace(self.augment, crop_scale=None)  # it would cut off what these keep
        self.eval_crop = (0.875 if longest >= 128 else 1.0) if eval_crop is None else eval_crop
        if on_bad_image not in ("error", "skip"):
            raise UserError(f"`data.on_bad_image` is {on_bad_image!r}: choose error or skip")
        self.left_out = LeftOut()  # files that are no images, of the folders searched
        self.cache = cache
        self.cache_size = (3 * longest + 1) // 2 if cache_size is None else cache_size
        if cache not in ("none", "ram", "disk"):
            raise UserError(f"`data.cache` is {cache!r}: choose none, ram or disk")
        if self.cache_size < longest:
            raise UserError(f"`data.cache_size` is {cache_size}: it must be at least {longest}, the image_size")
        if not 0 < self.eval_crop <= 1:
            raise UserError(f"`data.eval_crop` is {self.eval_crop}: it must be above 0 and at most 1")

    def default_shape(self) -> tuple[Size, int]:
        """Return 224 pixels, RGB."""
        return 224, 3

    @property
    def local_dir(self) -> Path:
        """``data_dir`` on this machine: of an address its mirror, which is brought up to date at the first use."""
        return local_folder(self.data_dir)

    def _geometry(self) -> Geometry:
        return Geometry(
            self.image_size, self.channels, self.eval_resize, self.eval_crop, self.max_pixels, self.value_range
        )

    def _file_source(self, root: Path, paths: Sequence[str], targets: Tensor) -> FileSource:
        return FileSource(root, paths, targets, self._geometry(), self.augment, self.seed)

    def setup(self, stage: str) -> None:
        """Find the files; for training with a cache, decode them or open the cache of an earlier run."""
        super().setup(stage)
        if stage != "fit" or self.cache == "none":
            return
        folder = cache_folder() / "pictures" if self.cache == "disk" else None
        for name in (name for name in ("train", "val") if name in self._splits):
            split = self._splits[name]
            if isinstance(split.source, FileSource):
                short = self.cache_size if name == "train" and self.augment.crop_scale is not None else 0
                threads, display = self._num_threads(), self._display()
                cached = CachedSource(name, split.source, split.indices, short, folder, threads, display)
                self._splits[name] = Split(cached, split.indices)
                if self.trainer is not None:  # otherwise at the first batch
                    _ = cached.cache

    def _display(self) -> Display | None:
        return Display() if is_rank_zero() else None

    def order(self) -> dict[str, Any]:
        """Return what training crops are taken from, see the base class."""
        # Checkpoints hold these sentences: another wording would look like another setting.
        if self.augment.crop_scale is None:
            return super().order()
        if self.cache == "none":
            crops = "files; large JPEGs decoded at 1/4 or 1/8, never below the size of the crop"
            return {**super().order(), "crops": crops}
        return {
            **super().order(),
            "crops": f"images kept at up to {self.cache_size} px; JPEGs decoded at 1/2, 1/4 or 1/8, never below "
            f"{max(height_width(self.image_size))} px",
        }

    @abstractmethod
    def all_paths(self) -> tuple[Path, list[str]]:
        """Return a folder and the paths of all image files relative to it, unreadable ones included."""

    @cached_property
    def broken(self) -> dict[str, str]:
        """Unreadable files: path, as ``all_paths`` gives it, to reason. Decodes every file once."""
        root, paths = self.all_paths()
        plain = self.channels in (1, 3) and self.value_range is None
        geometry = None if plain else self._geometry()
        return find_broken(root, paths, self.max_pixels, self._num_threads(), self._display(), geometry)

    def _tell_left_out(self, where: object) -> None:
        if self.left_out:
            say(f"{where}: left out {self.left_out}", error=True)

    def _drop_broken(self, paths: Sequence[str]) -> list[str]:
        """Return ``paths`` without unreadable files, if these are to be skipped; print which."""
        if self.on_bad_image != "skip":
            return list(paths)
        if self.broken:
            say(f"skipped {len(self.broken)} of {len(paths)} images that cannot be read: {self._some()}", error=True)
        return [path for path in paths if path not in self.broken]

    def _some(self, count: int = 5) -> str:
        """Return the first unreadable files as text."""
        listed = "; ".join(f"{path} ({reason})" for path, reason in list(self.broken.items())[:count])
        return f"{listed}; and {len(self.broken) - count} more" if len(self.broken) > count else listed

    def skipped(self, split: str | None = None) -> dict[str, str]:
        """Return the files skipped by ``on_bad_image="skip"``: name to reason; see the base class."""
        return dict(self.broken) if self.on_bad_image == "skip" else {}

    def _device_augment(self) -> Augment:
        return replace(self.augment, crop_scale=None)  # the source crops as it decodes

    def preprocessing(self) -> dict[str, Any]:
        """Return how images are prepared for evaluation, see the base class."""
        resizing = {"eval_resize": self.eval_resize, "eval_crop": self.eval_crop}
        values = None if self.value_range is None else list(self.value_range)
        return {**super().preprocessing(), **resizing, "value_range": values}
