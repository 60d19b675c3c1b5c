"""Folders of pictures: ImageFolder and its children, which hold only what differs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lit_cnn.data.datamodule import Part, log
from lit_cnn.data.decoding.source import FileSource, PictureFile, file_size, pictures, visible_folders
from lit_cnn.data.image_files import KINDS, PictureDataModule
from lit_cnn.data.split import cut
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.transforms.rng import digest
from lit_cnn.errors import UserError
from lit_cnn.utils.download import Remote, extract, fetch, verify

CROP_AND_FLIP = Augment(crop_scale=(0.08, 1.0), flip=0.5)  # GoogLeNet's (Szegedy et al., 2015, section 6)
FLIP = Augment(flip=0.5)
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class ImageFolder(PictureDataModule):
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
        # A folder of class folders; pictures right inside mean a class called "train", which is a vehicle.
        found = [name for name in folders if name.lower() in _PARTS and visible_folders(root / name)]
        parts = {_PARTS[name.lower()]: root / name for name in found}
        if "train" in parts and len(parts) < len(found):
            raise UserError(f"{root} has several folders for the same part ({', '.join(found)}): keep one of each")
        if "train" in parts or (parts and len(parts) == len(folders)):
            others = [name for name in folders if name not in found]
            if others and self._speaks:
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
    def _found(self) -> dict[str, list[PictureFile]]:
        """All pictures by layout folder, sorted by class and path."""
        root, found = self._root(), {}
        for part, folder in self._layout.items():
            found[part] = [
                PictureFile(f"{folder.relative_to(root).as_posix()}/{name}/{path}".removeprefix("./"), name)
                for name in visible_folders(folder)
                for path in sorted(pictures(folder / name))
            ]
        return found

    def all_paths(self) -> tuple[Path, list[str]]:
        return self._root(), [file.path for files in self._found.values() for file in files]

    @cached_property
    def _files(self) -> dict[str, list[PictureFile]]:
        """The pictures that count, by layout folder, sorted by class and path."""
        root, paths = self.all_paths()
        good = set(self._drop_broken(paths))
        if len(good) < len(paths):
            self._refuse_too_many_broken()
        found = {part: [file for file in files if file.path in good] for part, files in self._found.items()}
        filled = {file.label for files in found.values() for file in files}
        empty = [name for name in self._own_classes() if name not in filled]
        if empty:
            raise UserError(
                f"{root}: no images ({KINDS}) for class {', '.join(empty)}: add images or remove the folder"
            )
        return found

    def _refuse_too_many_broken(self) -> None:
        """Skipping a few pictures is one thing, losing a class or a part another: something went wrong with the set."""
        root = self._root()
        groups = {f"the {part} part": files for part, files in self._found.items() if part != "all"}
        limits = dict.fromkeys(groups, 1.0)
        for file in (file for files in self._found.values() for file in files):
            groups.setdefault(f"class {file.label}", []).append(file)
        for group, files in groups.items():
            broken = [file.path for file in files if file.path in self.broken]
            share = len(broken) / max(len(files), 1)
            if share == 1 or share > limits.get(group, 0.5):
                raise UserError(
                    f"{root}: {len(broken)} of the {len(files)} images of {group} cannot be read, too many to skip: "
                    f"{broken[0]} ({self.broken[broken[0]]}), ...; restore or remove them"
                )

    def skipped(self, split: str | None = None) -> dict[str, str]:
        """Return the pictures left out by the ``skip`` policy, by path relative to data_dir; see the base class."""
        # A part without a folder of its own is cut off these.
        folder = next((name for name in (split, "train", "all") if name in self._layout), None)
        wanted = self._found if split is None or folder is None else {folder: self._found[folder]}
        broken = super().skipped(split)
        return {
            self._shown(file.path): broken[file.path]
            for files in wanted.values()
            for file in files
            if file.path in broken
        }

    def _shown(self, path: str) -> str:
        return (self._root() / path).relative_to(self.data_dir).as_posix()

    def parts(self) -> dict[str, Part]:
        """Read every part there is."""
        return self._build([])

    def prepare_data(self) -> None:
        """Look for broken pictures once, so that the other processes find the verdicts."""
        if self.on_bad_image == "skip":
            _ = self._files

    def sample_name(self, split: str, index: int) -> str:
        """Return the file's path relative to data_dir."""
        return self._shown(super().sample_name(split, index))

    def fingerprint(self) -> str:
        """Return a hash of the sorted list of files with their sizes."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        root = self._root()
        paths = sorted(file.path for files in self._files.values() for file in files)
        return digest(*(f"{path}\0{file_size(root / path)}" for path in paths))

    # Parts ----

    @cached_property
    def _rows(self) -> tuple[FileSource, dict[str, Tensor]]:
        """One source of all files, and the rows of every part there is."""
        names = self.class_names
        files = [file for part in self._files.values() for file in part]
        index = {name: i for i, name in enumerate(names)}
        targets = torch.tensor([index[file.label] for file in files], dtype=torch.int64)
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
        unseen = set(targets.tolist()) - set(targets[rows["train"]].tolist()) if "train" in rows else set()
        if unseen and self._speaks:
            classes = ", ".join(names[i] for i in sorted(unseen))
            log.warning("%s has no training images of class %s, which cannot be learned", self._root(), classes)
        return self._file_source(self._root(), [file.path for file in files], targets), rows

    def _build(self, names: Sequence[str]) -> dict[str, Part]:
        source, rows = self._rows
        parts = {name: Part(source, members) for name, members in rows.items() if len(members)}
        for name in names:
            if name not in parts:
                have = ", ".join(parts)
                raise UserError(f"{self._root()} has no {name} images, only {have}: add a folder {self._root() / name}")
        return parts


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
        "point --data.data_dir at it or the folder above it, put flower_photos.tgz in that folder, or add "
        f"--data.download true to fetch it from {ARCHIVE.urls[0]}"
    )

    def __init__(self, download: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.download = download

    def _root(self) -> Path:
        root = Path(self.data_dir)
        here = any((root / name).is_dir() for name in ("train", *self.CLASSES))
        return root if here else root / "flower_photos"

    def _own_classes(self) -> list[str]:
        return self._found_classes if self._root().is_dir() else list(self.CLASSES)

    def prepare_data(self) -> None:
        """Unpack flower_photos.tgz where the folder is not there, and download it first if that was asked for."""
        archive = Path(self.data_dir, self.ARCHIVE.name)
        if not self._root().is_dir() and (self.download or archive.is_file()):
            fetch(self.ARCHIVE, Path(self.data_dir))
            verify(archive, self.ARCHIVE)
            extract(archive, "flower_photos", Path(self.data_dir))
        super().prepare_data()


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
