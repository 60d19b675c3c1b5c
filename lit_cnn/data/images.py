"""Images: files, folders and lists to classify, most of them without labels."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_cnn.data.decoding.find import find_image_files, is_image_name, is_special
from lit_cnn.data.decoding.source import FileSource, TolerantSource, file_size
from lit_cnn.data.image_files import KINDS, ImageFilesDataModule
from lit_cnn.data.lists.files import listed_images
from lit_cnn.data.lists.table import is_list
from lit_cnn.data.remote import is_address, local_folder
from lit_cnn.data.split import Split
from lit_cnn.errors import UserError
from lit_cnn.utils.files import digest, expand_home

_PATTERN = frozenset("*?[")


class Images(ImageFilesDataModule, listed=False):
    """Image files, for prediction. Targets are -1, but for images in a folder of class folders.

    With ``on_bad_image`` of skip, files that cannot be read are left out as they are met: none is decoded twice.

    Args:
        paths: Image files, folders that are searched for them, including subfolders, addresses of either, patterns
            with * and ?, and lists (CSV or Parquet).
        root: Folder that the paths in a list count from; null: the list's folder.
        path_column: Column of the paths in a list; null: by its name.
        multilabel: Whether the model gives each image any number of classes.
        mean: Per channel, in units of [0, 1]; null: ImageNet's.
        std: Per channel, in units of [0, 1].
        class_names: The model's class names.
    """

    def __init__(
        self,
        paths: list[str] | None = None,
        root: str | None = None,
        path_column: str | None = None,
        multilabel: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.paths = paths if paths is not None else [self.data_dir]
        self._root, self._path_column, self.multilabel = root, path_column, multilabel
        self._addresses: dict[str, str] = {}  # by the folder of their local copy
        self._labels: dict[str, str] = {}  # class of a file, by its path

    def data_classes(self) -> list[str]:
        """Return no classes."""
        return []

    @cached_property
    def _found(self) -> list[str]:
        found: list[str] = []
        for path in map(expand_home, self.paths):
            if is_address(path):
                address, path = path.rstrip("/"), str(local_folder(path))
                self._addresses[path] = address
            if not os.path.exists(path) and _PATTERN & set(path):  # noqa: PTH110 (paths are kept as they were given)
                matching = sorted(glob.glob(path, recursive=True))  # noqa: PTH207
                if not matching:
                    raise UserError(f"no file or folder matches {path}: give image files or folders")
                for match in matching:
                    found += self._files_of(match, chosen=False)
            else:
                found += self._files_of(path)
        self._tell_left_out(", ".join(self.paths[:3]) + (", ..." if len(self.paths) > 3 else ""))
        return found

    def _files_of(self, path: str, chosen: bool = True) -> list[str]:
        """Return the images that a word stands for; ``chosen``: it is the user's own, and not one of many."""
        if os.path.isdir(path):  # noqa: PTH112
            inside = sorted(find_image_files(Path(path), self.left_out))
            if not inside and chosen:
                others = f", only {self.left_out}" if self.left_out else ""
                raise UserError(f"no images ({KINDS}) in folder {path}{others}")
            files = {name: os.path.join(path, name) for name in inside}  # noqa: PTH118 (kept as given)
            # class folders, as for training
            if inside and not self.multilabel and all(name.partition("/")[0] in self._class_set for name in inside):
                self._labels |= {file: name.partition("/")[0] for name, file in files.items() if "/" in name}
            return list(files.values())
        if is_list(path) and os.path.isfile(path):  # noqa: PTH113
            return listed_images(Path(path), self._root, self._path_column)
        if is_special(path):
            raise UserError(f"{path} is a pipe, socket or device: give image files or folders")
        if os.path.exists(path) or self._skips:  # noqa: PTH110
            if not os.path.exists(path) and len(self.paths) == 1:  # noqa: PTH110
                raise UserError(f"there is no file or folder {path}: give image files or folders")
            if not chosen and not is_image_name(path):
                return []
            return [path]
        raise UserError(f"there is no file or folder {path}: give image files or folders")

    @cached_property
    def _class_set(self) -> frozenset[str]:
        return frozenset(self.class_names)

    @property
    def _skips(self) -> bool:
        return self.on_bad_image == "skip"

    def all_paths(self) -> tuple[Path, list[str]]:
        """Return all files, with paths as they were given."""
        return Path(), self._found

    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return all files as "test"; there is no other split."""
        if set(names) != {"test"}:
            raise UserError("Images has no labels to train or validate on: use it with predict, or `data=ImageFolder`")
        shape = (len(self._found), self.num_classes) if self.multilabel else (len(self._found),)
        targets = torch.full(shape, -1, dtype=torch.int64)
        if self._labels:
            number = {name: k for k, name in enumerate(self.class_names)}
            targets = torch.tensor([number.get(self._labels.get(path, ""), -1) for path in self._found])
        return {"test": Split(self._file_source(Path(), self._found, targets), torch.arange(len(targets)))}

    def _file_source(self, root: Path, paths: Sequence[str], targets: Tensor) -> FileSource:
        kind = TolerantSource if self._skips else FileSource
        return kind(root, paths, targets, self._geometry(), self.augment, self.seed)

    def setup(self, stage: str) -> None:
        """Find the files; without labels only prediction is possible."""
        if stage != "predict":
            raise UserError(f"Images has no labels for {stage}: use it with predict, or `data=ImageFolder`")
        super().setup(stage)

    def sample_name(self, split: str, index: int) -> str:
        """Return the path as it was given, or the address."""
        return self._shown(super().sample_name("test", index))

    def _shown(self, name: str) -> str:
        for folder, address in self._addresses.items():
            if name.startswith(folder + os.sep):
                inside = Path(name).relative_to(folder).as_posix()
                return address if is_image_name(address.rpartition("/")[2]) else f"{address}/{inside}"
        return name

    def local_file(self, index: int) -> Path:
        """Return the file of an image on this machine."""
        return Path(super().sample_name("test", index))

    def skipped(self, split: str | None = None) -> dict[str, str]:
        """Return the files that could not be read so far, see the base class."""
        source = self._splits["test"].source if "test" in self._splits else None
        broken = source.broken if isinstance(source, TolerantSource) else {}
        return {self._shown(path): reason for path, reason in sorted(broken.items())}

    def preprocessing(self) -> dict[str, Any]:
        """Return how images are prepared for evaluation, and whether they have any number of classes."""
        return {**super().preprocessing(), **({"multilabel": True} if self.multilabel else {})}

    def fingerprint(self) -> str:
        """Return a hash of the list of files; with their sizes where all must be readable."""
        sizes = [0 if self._skips else file_size(Path(path)) for path in self._found]
        return digest(*(f"{path}\0{size}" for path, size in zip(self._found, sizes, strict=True)))
