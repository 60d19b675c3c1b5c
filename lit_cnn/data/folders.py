"""ImageFolder: images in class folders."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lit_cnn.data.decoding.find import count_files_beside, find_image_files, is_unicode, shown, visible_folders
from lit_cnn.data.decoding.source import FileSource, LabelledFile, file_size
from lit_cnn.data.image_files import KINDS, ImageFilesDataModule
from lit_cnn.data.layout import Layout, explain_empty, explain_missing, find_layout, similar_names
from lit_cnn.data.multilabel import images_per_class
from lit_cnn.data.quality.ignore import note_unknown, read_ignore
from lit_cnn.data.quality.leaks import POLICIES, KnownPair, without_leaks
from lit_cnn.data.split import Split, hold_out, not_held_out
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say
from lit_cnn.utils.files import digest

CROP_AND_FLIP = Augment(crop_scale=(0.08, 1.0), flip=0.5)  # GoogLeNet's (Szegedy et al., 2015, section 6)


class ImageFolder(ImageFilesDataModule):
    """Your own images, one folder per class.

    ``data_dir/{train,val,test}/<class>/*`` (also Training, seg_test, validation_set and the like), or
    ``data_dir/<class>/*``, which is split here. Without a val folder, validation is held out of train. Classes are
    those of train. Files are jpg, png, webp, bmp, tif, gif, avif, ppm, jp2, npy and others, in any letter case, also in
    subfolders of a class; hidden files and folders are skipped, and a line counts what else is left out.

    Args:
        split: How test is held out where there are no split folders: "ratio" (seeded, stratified by class) or "tail"
            (the last test_fraction of each class in sorted order).
        test_fraction: Share of the images in the test split where there are no split folders; 0: no test split.
        val_fraction: Share of the training images held out for validation where there is no val folder; 0: none.
        augment: Random augmentation of training images.
        on_leak: Where a validation or test photo is a training photo, too, byte for byte: "warn": say so; "drop": leave
            it out of training; "error": stop; "off": do not look.
        ignore: Text file of images to leave out, one path relative to data_dir a line; # begins a comment.
    """

    HINT: ClassVar[str] = "give a folder that holds one folder of images per class, `data.data_dir=DIR`"

    def __init__(
        self,
        split: str = "ratio",
        test_fraction: float = 0.2,
        val_fraction: float = 0.1,
        augment: Augment = CROP_AND_FLIP,
        on_leak: str = "warn",
        ignore: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(val_fraction=val_fraction, augment=augment, **kwargs)
        self.split, self.test_fraction, self.on_leak, self.ignore = split, test_fraction, on_leak, ignore
        self._whole: str | None = None
        if on_leak not in POLICIES:
            raise UserError(f"`data.on_leak` is {on_leak!r}: choose {', '.join(POLICIES[:-1])} or {POLICIES[-1]}")
        if split not in ("ratio", "tail"):
            raise UserError(f"`data.split` is {split!r}: choose ratio or tail")

    # Files ----

    def root(self) -> Path:
        """Return the folder that paths of files are relative to: it holds the class or split folders."""
        return self.local_dir

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
        known = set(self._classes)
        for split, folder in self._layout.folders.items():
            prefix = f"{folder.relative_to(root).as_posix()}/".removeprefix("./")
            found[split] = [
                LabelledFile(f"{prefix}{name}/{path}", name)
                for name in self._class_folders[split]
                if name in known
                for path in sorted(find_image_files(folder / name, self.left_out, f"{prefix}{name}/"))
            ]
        around = [part for folder in self._layout.folders.values() for part in (folder, *folder.parents)]
        for folder in dict.fromkeys(part for part in around if part.is_relative_to(root)):
            prefix = f"{folder.relative_to(root).as_posix()}/".removeprefix("./")
            count_files_beside(folder, self.left_out, prefix)
        self._tell_left_out(root)
        return found

    @cached_property
    def _layout(self) -> Layout:
        """Folders that hold class folders: by split, or all under "all"."""
        root = self.root()
        if not root.is_dir():
            hint = f"{self.HINT}; offline: `data=Digits`"
            raise UserError(f"{type(self).__name__}: {explain_missing(root, hint)}")
        layout = find_layout(root, self._given_classes or ())
        for note in layout.notes:
            say(note, error=True)
        return layout

    def data_classes(self) -> list[str]:
        """Return the names of the class folders, sorted: those of train where there is a train folder."""
        return self._classes

    @cached_property
    def _class_folders(self) -> dict[str, list[str]]:
        """Names of the class folders of each split."""
        return {split: visible_folders(folder) for split, folder in self._layout.folders.items()}

    @cached_property
    def _classes(self) -> list[str]:
        where, folders = self.root(), self._class_folders
        names = folders["train"] if "train" in folders else sorted({name for part in folders.values() for name in part})
        if not names:
            raise UserError(explain_empty(where, KINDS, self.HINT))
        if len(names) == 1 and self._given_classes is None:
            raise UserError(f"{where} has a single class folder, {names[0]!r}; {self.HINT}, at least two")
        if odd := next((name for name in names if not is_unicode(name)), None):
            if sys.getfilesystemencoding() != "utf-8":
                encoding = f"this system reads file names as {sys.getfilesystemencoding()}"
                raise UserError(f"{where}: {encoding}, which cannot hold class folder {shown(odd)}: set PYTHONUTF8=1")
            raise UserError(f"{where}: the name of class folder {shown(odd)} is not UTF-8: rename it")
        if self._given_classes is None and (similar := similar_names(names)):
            pairs = ", ".join(" and ".join(map(repr, group)) for group in similar[:3])
            say(f"{where}: note: class names that differ only in case, spaces or accents: {pairs}", error=True)
        return sorted({*names, *self._further_classes(names)})

    def _further_classes(self, names: Sequence[str]) -> list[str]:
        """Return classes without a train folder that the model has; print which others are left out."""
        given, left_out, found = self._given_classes or (), {}, []
        for split, folders in self._class_folders.items() if "train" in self._class_folders else ():
            for name in (name for name in folders if name not in names):
                if name in given:
                    found.append(name)
                elif count := sum(1 for _ in find_image_files(self._layout.folders[split] / name)):
                    if similar := next((group[0] for group in similar_names([*names, name]) if name in group), None):
                        raise UserError(
                            f"{self.root()}: {split} has class {name!r}, train {similar!r}: give the folders one name"
                        )
                    left_out[f"{name} ({count:,} in {split})"] = count
        if left_out:
            say(f"{self.root()}: left out, no training images of class {', '.join(left_out)}", error=True)
        return found

    @cached_property
    def _found(self) -> dict[str, list[LabelledFile]]:
        found, ignored = self.list_files(), read_ignore(self.ignore, self.data_dir)
        if ignored:
            names = {file.path: {file.path, self._shown(file.path)} for files in found.values() for file in files}
            note_unknown(ignored, (name for both in names.values() for name in both), self.root())
            found = {
                split: [file for file in files if not names[file.path] & ignored] for split, files in found.items()
            }
        return found

    def all_paths(self) -> tuple[Path, list[str]]:
        """Return the folder and the paths of all files in it, see the base class."""
        return self.root(), [file.path for files in self._found.values() for file in files]

    @cached_property
    def _files(self) -> dict[str, list[LabelledFile]]:
        """The files to use, as of ``list_files``, without those that are skipped."""
        paths = self.all_paths()[1]
        good = set(self._drop_broken(paths))
        if len(good) < len(paths):
            self._refuse_too_many_broken()
        found = {split: [file for file in files if file.path in good] for split, files in self._found.items()}
        labels = {label for files in found.values() for file in files for label in file.classes}
        names = self.data_classes()
        if empty := [name for name in names if name not in labels]:
            self._refuse_empty(empty)
        if unknown := sorted(labels.difference(names)):
            raise UserError(f"{type(self).__name__}: files of class {', '.join(unknown)}, which data_classes() lacks")
        return found

    def _refuse_empty(self, names: Sequence[str]) -> None:
        """Raise UserError for classes without images."""
        listed = ", ".join(names)
        raise UserError(f"{self.root()}: no images ({KINDS}) for class {listed}: add images or remove the folder")

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
        return (self.root() / path).relative_to(self.local_dir).as_posix()

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
        targets = self._targets(files)
        indices: dict[str, Tensor] = {}
        start = 0
        for split, members in self._files.items():
            indices[split] = torch.arange(start, start + len(members))
            start += len(members)

        fractions = {"val": self.val_fraction} if "train" in indices and "val" not in indices else {}
        if "all" in indices and self._whole is not None:
            indices[self._whole] = indices.pop("all")
            say(f"{self.root()}: all {len(files):,} images are the {self._whole} images: it has no split folders")
        elif "all" in indices:
            indices["train"] = indices.pop("all")
            fractions = {"test": self.test_fraction, "val": self.val_fraction}
        paths = [file.path for file in files]
        if fractions:
            indices = self._hold_out(indices, fractions, paths, targets)
        indices, self.leaks = without_leaks(self.root(), paths, indices, self.on_leak, self.known_leaks())
        train = targets[indices["train"]] if "train" in indices else targets
        there, learned = (images_per_class(part, len(names)) > 0 for part in (targets, train))
        if unseen := (there & ~learned).nonzero().flatten().tolist():
            classes = ", ".join(names[i] for i in unseen)
            say(f"{self.root()} has no training images of class {classes}, which cannot be learned", error=True)
        return self._file_source(self.root(), [file.path for file in files], targets), indices

    def _targets(self, files: Sequence[LabelledFile]) -> Tensor:
        """Return the target of each file."""
        number = {name: i for i, name in enumerate(self.class_names)}
        return torch.tensor([number[file.label] for file in files], dtype=torch.int64)

    def _hold_out(
        self, indices: dict[str, Tensor], fractions: dict[str, float], paths: Sequence[str], targets: Tensor
    ) -> dict[str, Tensor]:
        """Return the indices of all splits, with those of ``fractions`` held out of "train"."""
        tail, names = self.split == "tail", self.class_names
        return hold_out(indices, fractions, paths, targets, seed=self.split_seed, class_names=names, tail=tail)

    def known_leaks(self) -> list[KnownPair]:
        """Return pairs of files, paths as ``list_files`` has them, that are known to show the same photo."""
        return []

    def evaluate_whole(self, split: str) -> None:
        """Let all images be those of ``split``, "test" or "val", where there are no split folders; before any setup."""
        self._whole = split

    def has_split(self, name: str) -> bool:
        """Whether there are images of split ``name``; lists the files."""
        return len(self._indices[1].get(name, ())) > 0

    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return every split that has images."""
        source, indices = self._indices
        splits = {name: Split(source, members) for name, members in indices.items() if len(members)}
        for name in names:
            if name not in splits:
                raise UserError(f"{self.root()} has no {name} images, only {', '.join(splits)}: {self._remedy(name)}")
        return splits

    def _remedy(self, name: str) -> str:
        """Return what gives the set a split."""
        layout: Layout = vars(self).get("_layout", Layout({}))  # not for files that are not in class folders
        if name in layout.flat:
            return f"move those in {layout.flat[name]} to {layout.flat[name].name}/<class>"
        fraction = getattr(self, f"{name}_fraction", None)
        if fraction == 0 and (name == "val" or "all" in self._found):
            return not_held_out(name, self.has_split("val"))
        return f"add a folder {self.root() / name}"
