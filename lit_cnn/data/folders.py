"""Data sets of images in class folders: ImageFolder, and its subclasses Flowers and Vehicles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lit_cnn.data.decoding.source import FileSource, LabelledFile, file_size, find_image_files, visible_folders
from lit_cnn.data.image_files import KINDS, ImageFilesDataModule
from lit_cnn.data.split import Split, stratified_split
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.validation import OTHER_DATA_DIR
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say
from lit_cnn.utils.download import PublishedFile, extract, fetch, verify
from lit_cnn.utils.files import digest

CROP_AND_FLIP = Augment(crop_scale=(0.08, 1.0), flip=0.5)  # GoogLeNet's (Szegedy et al., 2015, section 6)
FLIP = Augment(flip=0.5)
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class ImageFolder(ImageFilesDataModule):
    """Your own images, one folder per class.

    ``data_dir/{train,val,test}/<class>/*`` (also valid, validation), or ``data_dir/<class>/*``, which is split here.
    Without a val folder, validation is held out of train. Files are jpg, jpeg, png, bmp, webp, tif, tiff or gif, in any
    letter case, also in subfolders of a class; hidden files and folders are skipped.

    Args:
        split: How test is held out where there are no split folders: "ratio" (seeded, stratified by class) or "tail"
            (the last test_fraction of each class in sorted order).
        test_fraction: Share of the images in the test split where there are no split folders.
        val_fraction: Share of the training images held out for validation where there is no val folder.
        augment: Random augmentation of training images.
    """

    HINT: ClassVar[str] = "give a folder that holds one folder of images per class, `data.data_dir=DIR`"

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
            raise UserError(f"`data.split` is {split!r}: choose ratio or tail")

    # Files ----

    def root(self) -> Path:
        """Return the folder that paths of files are relative to: it holds the class or split folders."""
        return Path(self.data_dir)

    def list_files(self) -> dict[str, list[LabelledFile]]:
        """Return all files by split ("train", "val", "test"), or all of them under "all", to be split here.

        Override it, and ``data_classes``, for files that are not in class folders, such as those of a CSV file::

            class Birds(ImageFolder):
                def data_classes(self) -> list[str]:
                    return ["heron", "wren"]

                def list_files(self) -> dict[str, list[LabelledFile]]:
                    with Path(self.data_dir, "labels.csv").open(newline="") as file:
                        return {"all": [LabelledFile(path, label) for path, label in csv.reader(file)]}
        """
        root, found = self.root(), {}
        for split, folder in self._layout.items():
            found[split] = [
                LabelledFile(f"{folder.relative_to(root).as_posix()}/{name}/{path}".removeprefix("./"), name)
                for name in visible_folders(folder)
                for path in sorted(find_image_files(folder / name))
            ]
        return found

    @cached_property
    def _layout(self) -> dict[str, Path]:
        """Folders that hold class folders: by split, or all under "all"."""
        root = self.root()
        if not root.is_dir():
            raise UserError(f"{type(self).__name__}: there is no folder {root}; {self.HINT}; offline: `data=Digits`")
        folders = visible_folders(root)
        # A folder of class folders; one that holds image files itself is a class called "train", which is a vehicle.
        found = [name for name in folders if name.lower() in _SPLITS and visible_folders(root / name)]
        splits = {_SPLITS[name.lower()]: root / name for name in found}
        if "train" in splits and len(splits) < len(found):
            raise UserError(f"{root} has several folders for the same split ({', '.join(found)}): keep one of each")
        if "train" in splits or (splits and len(splits) == len(folders)):
            others = [name for name in folders if name not in found]
            if others:
                say(f"{root}: only its train, val and test folders are used, not {', '.join(others)}", error=True)
            return splits
        return {"all": root}

    def data_classes(self) -> list[str]:
        """Return the names of the class folders, sorted."""
        return self._class_folders

    @cached_property
    def _class_folders(self) -> list[str]:
        names = sorted({name for folder in self._layout.values() for name in visible_folders(folder)})
        where = self.root()
        if not names:
            raise UserError(f"{where} has no class folders; {self.HINT}; images without labels: `data=Images`")
        if len(names) == 1 and self._given_classes is None:
            raise UserError(f"{where} has a single class folder, {names[0]!r}; {self.HINT}, at least two")
        return names

    @cached_property
    def _found(self) -> dict[str, list[LabelledFile]]:
        return self.list_files()

    def all_paths(self) -> tuple[Path, list[str]]:
        """Return the folder and the paths of all files in it, see the base class."""
        return self.root(), [file.path for files in self._found.values() for file in files]

    @cached_property
    def _files(self) -> dict[str, list[LabelledFile]]:
        """The files to use, as of ``list_files``, without those that are skipped."""
        root, paths = self.all_paths()
        good = set(self._drop_broken(paths))
        if len(good) < len(paths):
            self._refuse_too_many_broken()
        found = {split: [file for file in files if file.path in good] for split, files in self._found.items()}
        labels, names = {file.label for files in found.values() for file in files}, self.data_classes()
        if empty := [name for name in names if name not in labels]:
            raise UserError(
                f"{root}: no images ({KINDS}) for class {', '.join(empty)}: add images or remove the folder"
            )
        if unknown := sorted(labels.difference(names)):
            raise UserError(f"{type(self).__name__}: files of class {', '.join(unknown)}, which data_classes() lacks")
        return found

    def _refuse_too_many_broken(self) -> None:
        """Raise UserError where skipping unreadable files would lose a class or a split."""
        groups = {f"the {split} split": files for split, files in self._found.items() if split != "all"}
        limits = dict.fromkeys(groups, 1.0)
        for file in (file for files in self._found.values() for file in files):
            groups.setdefault(f"class {file.label}", []).append(file)
        for group, files in groups.items():
            broken = [file.path for file in files if file.path in self.broken]
            share = len(broken) / max(len(files), 1)
            if share == 1 or share > limits.get(group, 0.5):
                raise UserError(
                    f"{self.root()}: {len(broken)} of the {len(files)} images of {group} cannot be read, too many to "
                    f"skip: {broken[0]} ({self.broken[broken[0]]}), ...; restore or remove them"
                )

    def skipped(self, split: str | None = None) -> dict[str, str]:
        """Return the files skipped by ``on_bad_image="skip"``, by path relative to data_dir; see the base class."""
        # A split without its own folder is held out of these.
        folder = next((name for name in (split, "train", "all") if name in self._found), None)
        chosen = self._found if split is None or folder is None else {folder: self._found[folder]}
        broken = super().skipped(split)
        paths = [file.path for files in chosen.values() for file in files]
        return {self._shown(path): broken[path] for path in paths if path in broken}

    def _shown(self, path: str) -> str:
        return (self.root() / path).relative_to(self.data_dir).as_posix()

    def splits(self) -> dict[str, Split]:
        """Build and return every split of the data set."""
        return self.build_splits([])

    def prepare_data(self) -> None:
        """Scan for unreadable files once, so that other processes find the results in the cache."""
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
        root = self.root()
        paths = sorted(file.path for files in self._files.values() for file in files)
        return digest(*(f"{path}\0{file_size(root / path)}" for path in paths))

    # Splits ----

    @cached_property
    def _indices(self) -> tuple[FileSource, dict[str, Tensor]]:
        """One source of all files, and the indices of every split."""
        names = self.class_names
        files = [file for members in self._files.values() for file in members]
        number = {name: i for i, name in enumerate(names)}
        targets = torch.tensor([number[file.label] for file in files], dtype=torch.int64)
        indices: dict[str, Tensor] = {}
        start = 0
        for split, members in self._files.items():
            indices[split] = torch.arange(start, start + len(members))
            start += len(members)

        def hold_out(source: Tensor, fraction: float, split: str, tail: bool = False) -> tuple[Tensor, Tensor]:
            kept, held_out = stratified_split(
                [files[i].path for i in source.tolist()],
                targets[source],
                fraction,
                seed=self.split_seed,
                class_names=names,
                split=split,
                tail=tail,
            )
            return source[kept], source[held_out]

        if "all" in indices:
            tail = self.split == "tail"
            indices["train"], indices["test"] = hold_out(indices.pop("all"), self.test_fraction, "test", tail)
        if "train" in indices and "val" not in indices:
            indices["train"], indices["val"] = hold_out(indices["train"], self.val_fraction, "val")
        unseen = set(targets.tolist()) - set(targets[indices["train"]].tolist()) if "train" in indices else set()
        if unseen:
            classes = ", ".join(names[i] for i in sorted(unseen))
            say(f"{self.root()} has no training images of class {classes}, which cannot be learned", error=True)
        return self._file_source(self.root(), [file.path for file in files], targets), indices

    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return every split that has images."""
        source, indices = self._indices
        splits = {name: Split(source, members) for name, members in indices.items() if len(members)}
        for name in names:
            if name not in splits:
                have = ", ".join(splits)
                raise UserError(f"{self.root()} has no {name} images, only {have}: add a folder {self.root() / name}")
        return splits


class Flowers(ImageFolder):
    """TensorFlow's flower_photos: 3,670 photos in 5 classes, in data_dir/flower_photos or data_dir itself.

    Args:
        download: Download flower_photos.tgz (218 MiB) if the folder is missing; otherwise the network is never used.
    """

    CLASSES: ClassVar[tuple[str, ...]] = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    ARCHIVE: ClassVar[PublishedFile] = PublishedFile(
        "flower_photos.tgz",
        ("https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",),
        # Published by TensorFlow Datasets, url_checksums/tf_flowers.txt (228,813,984 bytes).
        sha256="4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    )
    HINT = (
        "point `data.data_dir` at it or the folder above it, put flower_photos.tgz in that folder, or add "
        f"`data.download=true` to fetch it from {ARCHIVE.urls[0]}"
    )

    def __init__(self, download: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.download = download

    def root(self) -> Path:
        """Return data_dir, or flower_photos in it."""
        root = Path(self.data_dir)
        here = any((root / name).is_dir() for name in ("train", *self.CLASSES))
        return root if here else root / "flower_photos"

    def data_classes(self) -> list[str]:
        """Return the class folders; before the download, the published ones."""
        return self._class_folders if self.root().is_dir() else list(self.CLASSES)

    def prepare_data(self) -> None:
        """Unpack flower_photos.tgz if the folder is missing, and download it first if ``download`` is set."""
        archive = Path(self.data_dir, self.ARCHIVE.name)
        if not self.root().is_dir() and (self.download or archive.is_file()):
            fetch(self.ARCHIVE, Path(self.data_dir), OTHER_DATA_DIR)
            verify(archive, self.ARCHIVE)
            extract(archive, "flower_photos", Path(self.data_dir), OTHER_DATA_DIR)
        super().prepare_data()


class Vehicles(ImageFolder):
    """Grey photos of vehicles in class folders (car, bus, truck, or any other), resized to a square.

    The test split is the tail: the last quarter of each class in sorted order.

    Args:
        channels: 1 (grey) or 3 (RGB); null: 1.
    """

    HINT = "give the folder that holds car, bus, truck or other class folders, `data.data_dir=DIR`"

    def __init__(
        self,
        split: str = "tail",
        test_fraction: float = 0.25,
        eval_resize: str = "stretch",
        augment: Augment = FLIP,
        **kwargs: Any,
    ) -> None:
        super().__init__(split=split, test_fraction=test_fraction, eval_resize=eval_resize, augment=augment, **kwargs)

    def default_shape(self) -> tuple[int, int]:
        """Return 224 pixels, grey."""
        return 224, 1
