"""What sets of picture files share, and Images: pictures without labels, for prediction."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_cnn.data.cache.source import CachedSource
from lit_cnn.data.datamodule import ImageDataModule, Part, log
from lit_cnn.data.decoding.decode import Geometry
from lit_cnn.data.decoding.formats import EXTENSIONS, MAX_PIXELS
from lit_cnn.data.decoding.source import FileSource, file_size, pictures
from lit_cnn.data.decoding.verify import cache_folder, find_broken
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.transforms.rng import digest
from lit_cnn.errors import UserError
from lit_cnn.utils.console import Display

KINDS = ", ".join(extension[1:] for extension in EXTENSIONS)


class PictureDataModule(ImageDataModule):
    """What sets of picture files share.

    Args:
        image_size: Height and width in pixels the model sees; null: 224.
        channels: 1 (grey) or 3 (RGB); null: 3.
        normalize: "imagenet", or "computed" (over the training images).
        eval_resize: "center_crop": resize the shorter side, then cut the centre out; "stretch": resize to a square.
        eval_crop: Share of the shorter side that center_crop keeps; null: 0.875 (224 of 256) for an image_size of 128
            or more, else 1.
        on_bad_image: "error": stop at a broken picture and name it; "skip": find and list them before training.
        max_pixels: Pictures whose header claims more pixels are broken.
        cache: Training and validation images, decoded once before training: "disk" keeps them in one file for all
            processes and later runs (in $LIT_CNN_CACHE or ~/.cache/lit_cnn), "ram" in each process's memory, "none"
            decodes in every epoch. For a random resized crop (augment.crop_scale) whole images are kept, large ones
            made smaller (cache_size), and the crops are cut from these: a little less sharp than with "none".
            Everything else is the same, bit for bit.
        cache_size: Largest shorter side in pixels of the whole images kept; null: 1.5 times image_size.
    """

    def __init__(
        self,
        normalize: str = "imagenet",
        eval_resize: str = "center_crop",
        eval_crop: float | None = None,
        on_bad_image: str = "error",
        max_pixels: int = MAX_PIXELS,
        cache: str = "none",
        cache_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(normalize=normalize, **kwargs)
        self.eval_resize, self.on_bad_image, self.max_pixels = eval_resize, on_bad_image, max_pixels
        self.eval_crop = (0.875 if self.image_size >= 128 else 1.0) if eval_crop is None else eval_crop
        if eval_resize not in ("center_crop", "stretch"):
            raise UserError(f"data.eval_resize is {eval_resize!r}: choose center_crop or stretch")
        if on_bad_image not in ("error", "skip"):
            raise UserError(f"data.on_bad_image is {on_bad_image!r}: choose error or skip")
        self.cache = cache
        self.cache_size = (3 * self.image_size + 1) // 2 if cache_size is None else cache_size
        if cache not in ("none", "ram", "disk"):
            raise UserError(f"data.cache is {cache!r}: choose none, ram or disk")
        if self.cache_size < self.image_size:
            raise UserError(f"data.cache_size is {cache_size}: it must be at least the image_size of {self.image_size}")
        if not 0 < self.eval_crop <= 1:
            raise UserError(f"data.eval_crop is {self.eval_crop}: it must be above 0 and at most 1")

    def _own_shape(self) -> tuple[int, int]:
        return 224, 3

    def _geometry(self) -> Geometry:
        return Geometry(self.image_size, self.channels, self.eval_resize, self.eval_crop, self.max_pixels)

    def _file_source(self, root: Path, paths: Sequence[str], targets: Tensor) -> FileSource:
        return FileSource(root, paths, targets, self._geometry(), self.augment, self.seed)

    def setup(self, stage: str) -> None:
        """Find the pictures; for training with a cache, decode them or open what was decoded before."""
        super().setup(stage)
        if stage != "fit" or self.cache == "none":
            return
        folder = cache_folder() / "pictures" if self.cache == "disk" else None
        for name in ("train", "val"):
            part = self._parts[name]
            if isinstance(part.source, FileSource):
                short = self.cache_size if name == "train" and self.augment.crop_scale is not None else 0
                display = Display() if self._speaks else None
                cached = CachedSource(name, part.source, part.rows, short, folder, self._workers(), display)
                self._parts[name] = Part(cached, part.rows)
                if self.trainer is not None:  # otherwise when the first batch is asked for
                    _ = cached.store

    def order(self) -> dict[str, Any]:
        """Return what training crops are cut from, see the base class."""
        if self.augment.crop_scale is None:
            return {}
        if self.cache == "none":
            return {"crops": "files; large JPEGs decoded at 1/4 or 1/8, never below the size of the crop"}
        return {
            "crops": f"images kept at up to {self.cache_size} px; JPEGs decoded at 1/2, 1/4 or 1/8, never below "
            f"{self.image_size} px"
        }

    @abstractmethod
    def all_paths(self) -> tuple[Path, list[str]]:
        """Return a folder and the paths of all pictures relative to it, the broken ones too."""

    @cached_property
    def broken(self) -> dict[str, str]:
        """The pictures that cannot be read, by path as ``all_paths`` gives it, with the reason. Decodes them all."""
        root, paths = self.all_paths()
        return find_broken(root, paths, self.max_pixels, self._workers(), Display() if self._speaks else None)

    def _drop_broken(self, paths: Sequence[str]) -> list[str]:
        """Return ``paths`` without the broken ones, if those are to be skipped; say which."""
        if self.on_bad_image != "skip":
            return list(paths)
        if self.broken and self._speaks:
            log.warning("skipped %d of %d images that cannot be read: %s", len(self.broken), len(paths), self._some())
        return [path for path in paths if path not in self.broken]

    def _some(self, count: int = 5) -> str:
        """Return the first broken pictures in words."""
        listed = "; ".join(f"{path} ({reason})" for path, reason in list(self.broken.items())[:count])
        return f"{listed}; and {len(self.broken) - count} more" if len(self.broken) > count else listed

    def skipped(self, split: str | None = None) -> dict[str, str]:
        """Return the pictures left out by the ``skip`` policy, by name, with the reason; see the base class."""
        return dict(self.broken) if self.on_bad_image == "skip" else {}

    def _device_augment(self) -> Augment:
        return replace(self.augment, crop_scale=None)  # the files' source crops as it decodes

    def preprocessing(self) -> dict[str, Any]:
        """Return how images are prepared for evaluation, see the base class."""
        return {**super().preprocessing(), "eval_resize": self.eval_resize, "eval_crop": self.eval_crop}


class Images(PictureDataModule):
    """Pictures without labels, for prediction: every target is -1.

    Args:
        paths: Picture files, or folders that are searched for them, subfolders included.
        mean: Per channel, in units of [0, 1]; null: ImageNet's.
        std: Per channel, in units of [0, 1].
        class_names: Of the model.
    """

    def __init__(self, paths: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paths = paths if paths is not None else [self.data_dir]

    def _own_classes(self) -> list[str]:
        return []

    @cached_property
    def _found(self) -> list[str]:
        found: list[str] = []
        for path in self.paths:
            if os.path.isdir(path):  # noqa: PTH112 (paths are kept as they were given)
                inside = sorted(pictures(Path(path)))
                if not inside:
                    raise UserError(f"no images ({KINDS}) in folder {path}")
                found += [os.path.join(path, name) for name in inside]  # noqa: PTH118
            elif os.path.exists(path):  # noqa: PTH110
                found.append(path)
            else:
                raise UserError(f"there is no file or folder {path}: give picture files or folders")
        return found

    def all_paths(self) -> tuple[Path, list[str]]:
        return Path(), self._found

    @cached_property
    def _good(self) -> list[str]:
        good = self._drop_broken(self._found)
        if not good:
            raise UserError(f"none of the {len(self._found)} images in {', '.join(self.paths)} can be read")
        return good

    def _build(self, names: Sequence[str]) -> dict[str, Part]:
        if set(names) != {"test"}:
            raise UserError("Images has no labels to train or validate on: use it with predict, or --data ImageFolder")
        targets = torch.full((len(self._good),), -1, dtype=torch.int64)
        return {"test": Part(self._file_source(Path(), self._good, targets), torch.arange(len(targets)))}

    def setup(self, stage: str) -> None:
        """Find the pictures; only prediction makes sense without labels."""
        if stage != "predict":
            raise UserError(f"Images has no labels for {stage}: use it with predict, or --data ImageFolder")
        super().setup(stage)

    def sample_name(self, split: str, index: int) -> str:
        """Return the path as it was given."""
        return super().sample_name("test", index)

    def fingerprint(self) -> str:
        """Return a hash of the list of files with their sizes."""
        return digest(*(f"{path}\0{file_size(Path(path))}" for path in self._good))
