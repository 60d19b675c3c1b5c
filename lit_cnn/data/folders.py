"""Folders of pictures: ImageFolder and its children, and Images for pictures without labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lit_cnn.data.augment import Augment
from lit_cnn.data.base import ImageDataModule, Part, log, without_crop
from lit_cnn.data.decode import EXTENSIONS, MAX_PIXELS, Geometry
from lit_cnn.data.download import Remote, extract, fetch, verify
from lit_cnn.data.draws import digest
from lit_cnn.data.files import FileSource, PictureFile, find_broken, pictures, visible_folders
from lit_cnn.data.split import cut
from lit_cnn.errors import UserError

CROP_AND_FLIP = Augment(crop_scale=(0.08, 1.0), flip=0.5)  # GoogLeNet's (Szegedy et al., 2015, section 6)
FLIP = Augment(flip=0.5)
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class _Files(ImageDataModule):
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
    """

    def __init__(
        self,
        normalize: str = "imagenet",
        eval_resize: str = "center_crop",
        eval_crop: float | None = None,
        on_bad_image: str = "error",
        max_pixels: int = MAX_PIXELS,
        **kwargs: Any,
    ) -> None:
        super().__init__(normalize=normalize, **kwargs)
        self.eval_resize, self.on_bad_image, self.max_pixels = eval_resize, on_bad_image, max_pixels
        self.eval_crop = (0.875 if self.image_size >= 128 else 1.0) if eval_crop is None else eval_crop
        if eval_resize not in ("center_crop", "stretch"):
            raise UserError(f"data.eval_resize is {eval_resize!r}: choose center_crop or stretch")
        if on_bad_image not in ("error", "skip"):
            raise UserError(f"data.on_bad_image is {on_bad_image!r}: choose error or skip")
        if not 0 < self.eval_crop <= 1:
            raise UserError(f"data.eval_crop is {self.eval_crop}: it must be above 0 and at most 1")

    def _own_shape(self) -> tuple[int, int]:
        return 224, 3

    def _geometry(self) -> Geometry:
        return Geometry(self.image_size, self.channels, self.eval_resize, self.eval_crop, self.max_pixels)

    def _file_source(self, root: Path, paths: Sequence[str], targets: Tensor) -> FileSource:
        return FileSource(root, paths, targets, self._geometry(), self.augment, self.seed)

    def _drop_broken(self, root: Path, paths: Sequence[str]) -> list[str]:
        """Return ``paths`` without the broken ones, if those are to be skipped; say which."""
        if self.on_bad_image != "skip":
            return list(paths)
        broken = find_broken(root, paths, self.max_pixels, self._workers())
        if broken and (self.trainer is None or self.trainer.is_global_zero):
            listed = "; ".join(f"{path} ({reason})" for path, reason in broken.items())
            log.warning("skipped %d of %d images that cannot be read: %s", len(broken), len(paths), listed)
        return [path for path in paths if path not in broken]

    def _device_augment(self) -> Augment:
        return without_crop(self.augment)

    def preprocessing(self) -> dict[str, Any]:
        """Return how images are prepared for evaluation, see the base class."""
        return {**super().preprocessing(), "eval_resize": self.eval_resize, "eval_crop": self.eval_crop}


class ImageFolder(_Files):
    """Your own pictures, one folder per class.

    ``data_dir/{train,val,test}/<class>/*`` (also valid, validation), or ``data_dir/<class>/*``, which is split here.
    Without a val folder, validation is cut off train. Files are jpg, jpeg, png, bmp, webp, tif, tiff or gif, in any
    letter case, also in subfolders of a class; hidden files and folders are left out.

    Args:
        split: How test is cut off where there are no split folders: "ratio" (seeded, in every class alike) or "tail"
            (the last test_fraction of each class in sorted order).
        test_fraction: Share of the images that is the test set where there are no split folders.
        val_fraction: Share of the training images cut off for validation where there is no val folder.
        augment: Random changes to training images.
    """

    HINT: ClassVar[str] = "give a folder that holds one folder of pictures per class, --data.data_dir DIR"

    def __init__(
        self,
        split: str = "ratio",
        test_fraction: float = 0.2,
        val_fraction: float = 0.1,
        augment: Augment = CROP_AND_FLIP,
        **kwargs: Any,
    ) -> None:
        super().__init__(val_fraction=val_fraction, augment=augment, **kwargs)
        self.split, self.test_fraction = split, test_fraction
        if split not in ("ratio", "tail"):
            raise UserError(f"data.split is {split!r}: choose ratio or tail")

    # Folders ----

    def _root(self) -> Path:
        """Return the folder that holds the class or split folders."""
        return Path(self.data_dir)

    @cached_property
    def _layout(self) -> dict[str, Path]:
        """Folders that hold class folders: by part, or all under "all"."""
        root = self._root()
        if not root.is_dir():
            raise UserError(f"{type(self).__name__}: there is no folder {root}; {self.HINT}; offline: --data Digits")
        folders = visible_folders(root)
        parts = {_PARTS[name.lower()]: root / name for name in folders if name.lower() in _PARTS}
        if "train" in parts or (parts and len(parts) == len(folders)):
            others = [name for name in folders if name.lower() not in _PARTS]
            if others:
                log.warning("%s: only its train, val and test folders are used, not %s", root, ", ".join(others))
            return parts
        return {"all": root}

    def _own_classes(self) -> list[str]:
        return self._found_classes

    @cached_property
    def _found_classes(self) -> list[str]:
        names = sorted({name for folder in self._layout.values() for name in visible_folders(folder)})
        where = self._root()
        if not names:
            raise UserError(f"{where} has no class folders; {self.HINT}; pictures without labels: --data Images")
        if len(names) == 1 and self._given_classes is None:
            raise UserError(f"{where} has a single class folder, {names[0]!r}; {self.HINT}, at least two")
        return names

    @cached_property
    def _files(self) -> dict[str, list[PictureFile]]:
        """All readable pictures by layout folder, sorted by class and path."""
        root, found = self._root(), {}
        for part, folder in self._layout.items():
            found[part] = [
                PictureFile(f"{folder.relative_to(root).as_posix()}/{name}/{path}".removeprefix("./"), name)
                for name in visible_folders(folder)
                for path in sorted(pictures(folder / name))
            ]
        good = set(self._drop_broken(root, [file.path for files in found.values() for file in files]))
        found = {part: [file for file in files if file.path in good] for part, files in found.items()}
        filled = {file.label for files in found.values() for file in files}
        empty = [name for name in self._own_classes() if name not in filled]
        if empty:
            raise UserError(
                f"{root}: no images ({', '.join(e[1:] for e in EXTENSIONS)}) for class {', '.join(empty)}: "
                f"add images or remove the folder"
            )
        return found

    def fingerprint(self) -> str:
        """Return a hash of the sorted list of files with their sizes."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        root = self._root()
        paths = sorted(file.path for files in self._files.values() for file in files)
        return digest(*(f"{path}\0{(root / path).stat().st_size}" for path in paths))

    # Parts ----

    @cached_property
    def _rows(self) -> tuple[FileSource, dict[str, Tensor]]:
        """One source of all files, and the rows of every part there is."""
        names = self.class_names
        files = [file for part in self._files.values() for file in part]
        targets = torch.tensor([names.index(file.label) for file in files], dtype=torch.int64)
        rows: dict[str, Tensor] = {}
        start = 0
        for part, members in self._files.items():
            rows[part] = torch.arange(start, start + len(members))
            start += len(members)

        def divide(source: Tensor, fraction: float, part: str, tail: bool = False) -> tuple[Tensor, Tensor]:
            kept, off = cut(
                [files[i].path for i in source.tolist()],
                targets[source],
                fraction,
                seed=self.split_seed,
                class_names=names,
                part=part,
                tail=tail,
            )
            return source[kept], source[off]

        if "all" in rows:
            rows["train"], rows["test"] = divide(rows.pop("all"), self.test_fraction, "test", self.split == "tail")
        if "train" in rows and "val" not in rows:
            rows["train"], rows["val"] = divide(rows["train"], self.val_fraction, "val")
        return self._file_source(self._root(), [file.path for file in files], targets), rows

    def _build(self, names: Sequence[str]) -> dict[str, Part]:
        source, rows = self._rows
        for name in names:
            if name not in rows or not len(rows[name]):
                have = ", ".join(part for part in rows if len(rows[part]))
                raise UserError(f"{self._root()} has no {name} images, only {have}: add a folder {self._root() / name}")
        return {name: Part(source, rows[name]) for name in names}


class Flowers(ImageFolder):
    """TensorFlow's flower_photos: 3,670 photos in 5 classes, in data_dir/flower_photos or data_dir itself.

    Args:
        download: Fetch flower_photos.tgz (218 MiB) when the folder is not there; otherwise the network is never used.
    """

    CLASSES: ClassVar[tuple[str, ...]] = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    ARCHIVE: ClassVar[Remote] = Remote(
        "flower_photos.tgz",
        ("https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",),
        # Published by TensorFlow Datasets, url_checksums/tf_flowers.txt (228,813,984 bytes).
        sha256="4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    )
    HINT = (
        "point --data.data_dir at flower_photos or the folder above it, unpack flower_photos.tgz there, or add "
        f"--data.download true to fetch it from {ARCHIVE.urls[0]}"
    )

    def __init__(self, download: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.download = download

    def _root(self) -> Path:
        inner = Path(self.data_dir, "flower_photos")
        return inner if inner.is_dir() or not Path(self.data_dir, self.CLASSES[0]).is_dir() else Path(self.data_dir)

    def _own_classes(self) -> list[str]:
        return list(self.CLASSES) if not self._root().is_dir() else self._found_classes

    def prepare_data(self) -> None:
        """Download and unpack, if that was asked for and the folder is not there."""
        if self.download and not self._root().is_dir():
            archive = fetch(self.ARCHIVE, Path(self.data_dir))
            verify(archive, self.ARCHIVE)
            extract(archive, "flower_photos", Path(self.data_dir))


class Vehicles(ImageFolder):
    """Grey photos of vehicles in class folders (car, bus, truck, or whatever is found), stretched to a square.

    The test set is the tail: the last quarter of each class in sorted order.

    Args:
        channels: 1 (grey) or 3 (RGB); null: 1.
    """

    HINT = "give the folder that holds car, bus, truck or other class folders, --data.data_dir DIR"

    def __init__(
        self,
        split: str = "tail",
        test_fraction: float = 0.25,
        eval_resize: str = "stretch",
        augment: Augment = FLIP,
        **kwargs: Any,
    ) -> None:
        super().__init__(split=split, test_fraction=test_fraction, eval_resize=eval_resize, augment=augment, **kwargs)

    def _own_shape(self) -> tuple[int, int]:
        return 224, 1


class Images(_Files):
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
                    raise UserError(f"no images ({', '.join(e[1:] for e in EXTENSIONS)}) in folder {path}")
                found += [os.path.join(path, name) for name in inside]  # noqa: PTH118
            elif os.path.exists(path):  # noqa: PTH110
                found.append(path)
            else:
                raise UserError(f"there is no file or folder {path}: give pictures with --data.paths")
        good = self._drop_broken(Path(), found)
        if not good:
            raise UserError(f"none of the {len(found)} images in {', '.join(self.paths)} can be read")
        return good

    def _build(self, names: Sequence[str]) -> dict[str, Part]:
        if set(names) != {"test"}:
            raise UserError("Images has no labels to train or validate on: use it with predict, or --data ImageFolder")
        targets = torch.full((len(self._found),), -1, dtype=torch.int64)
        return {"test": Part(self._file_source(Path(), self._found, targets), torch.arange(len(targets)))}

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
        return digest(*(f"{path}\0{Path(path).stat().st_size}" for path in self._found))
