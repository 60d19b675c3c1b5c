"""Find image files in folders, and count what is left out."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from lit_cnn.data.decoding import optional_formats
from lit_cnn.data.decoding.formats import EXTENSIONS, image_format
from lit_cnn.errors import UserError
from lit_cnn.run_folder import LOGS

# What systems and programs put into folders, beside hidden files.
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
_SYSTEM_FOLDERS = {"@eadir", "$recycle.bin", "system volume information", "lost+found", LOGS}
# Kinds of images, documents and videos that are not read here. TGA has no signature, so that any file may look like
# one; EPS starts another program; the others need a library of their own, or hold something else than one photo.
_CONVERTIBLE = {
    *(
        ".jxr",
        ".wdp",
        ".hdp",
        ".bpg",
        ".psd",
        ".psb",
        ".xcf",
        ".svg",
        ".svgz",
        ".eps",
    ),
    *(".ai", ".pdf", ".ico", ".icns", ".cur", ".tga", ".pcx", ".exr", ".hdr", ".pfm", ".sgi", ".xbm", ".xpm", ".dds"),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2", ".raw", ".dcm", ".nii", ".npz", ".fits", ".mat"),
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".pam", ".qoi", ".flif", ".djvu", ".wmf", ".emf"),
}
_PLURAL = re.compile(r"(?<=link)|(?<=special file)")  # where kinds get an s
_SHOWN = 8  # kinds in a message
_OPENED = 100  # files of one extension that are opened to see what they are


class LeftOut:
    """What a search leaves out, counted by kind, with an example of each kind."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, str, str]] = {}  # count, example, advice
        self._opened: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._kinds)

    @property
    def count(self) -> int:
        """Number of files and links."""
        return sum(count for count, _, _ in self._kinds.values())

    def add(self, kind: str, example: str, advice: str = "") -> None:
        """Count one more of ``kind``; the first one's name and advice are shown."""
        count, first, known = self._kinds.get(kind, (0, example, advice))
        self._kinds[kind] = count + 1, first, known

    def add_file(self, path: Path, name: str) -> None:
        """Count a file that is no image by its name.

        Args:
            path: Of the file.
            name: How to call it.
        """
        suffix = path.suffix.lower()
        kind = suffix or "without extension"
        if suffix in optional_formats.SUFFIXES:
            self.add(kind, name, optional_formats.INSTALL)
        elif suffix in _CONVERTIBLE:
            self.add(kind, name, "convert to jpg or png")
        elif path.is_symlink() and not path.exists():
            self.add("dead link", name)
        elif self._opened[suffix] < _OPENED and path.is_file() and (found := image_format(path)) is not None:
            self.add(f"{found} {kind if suffix == '' else f'called {kind}'}", name, "rename it")
        else:
            self._opened[suffix] += 1
            self.add(kind, name)

    def __str__(self) -> str:
        """For example ``40 .heic (cat/a.heic: convert to jpg or png), 1 .csv (labels.csv)``."""
        kinds = sorted(self._kinds.items(), key=lambda item: -item[1][0])
        listed: list[str] = []
        for kind, (count, example, advice) in kinds[:_SHOWN]:
            text = f"{count:,} {_PLURAL.sub('s', kind) if count > 1 else kind}"
            detail = f"{shown(example)}{f': {advice}' if advice else ''}"
            listed.append(f"{text} ({detail})" if len(listed) < 3 or advice else text)
        if rest := sum(count for _, (count, _, _) in kinds[_SHOWN:]):
            listed.append(f"{rest:,} others")
        return ", ".join(listed)


def is_unicode(name: str) -> bool:
    """Whether a file's name is valid in the encoding of file names, UTF-8 as a rule."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def shown(name: str, width: int = 40) -> str:
    """Return a file's name for a message: the end of a long one, and letters that cannot be encoded replaced."""
    name = name.encode(errors="surrogateescape").decode(errors="replace")
    return name if len(name) <= width else f"...{name[-width:]}"


def is_image_name(name: str) -> bool:
    """Whether a file of that name is read: not hidden, and of a known extension."""
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def is_special(path: str | Path) -> bool:
    """Whether it is a pipe, a socket or a device (or a link to one): opening a pipe waits for its other end."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (once per link: no Path needed)
    except (OSError, ValueError):
        return False  # such as a dead link, which is told where it is read
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _special_names(folder: str) -> set[str]:
    """Return the names of the special files in a folder. The listing tells regular files without a stat each."""
    with os.scandir(folder) as entries:
        odd = [e for e in entries if not e.is_file(follow_symlinks=False) and not e.is_dir(follow_symlinks=False)]
    return {entry.name for entry in odd if is_special(entry.path)}


def visible_folders(folder: Path) -> list[str]:
    """Return the names of the subfolders (or links to some), sorted, without hidden ones and those of the system.

    Raises:
        UserError: A link points to ``folder`` or one above it, so that its files would be counted twice.
    """
    try:
        with os.scandir(folder) as entries:
            visible = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _SYSTEM_FOLDERS]
            # DirEntry.is_dir raises on a link to itself, Path.is_dir does not.
            found = [e for e in visible if (Path(e.path).is_dir() if e.is_symlink() else e.is_dir())]
    except OSError as error:
        _unreadable(error)
    here = folder.resolve() if any(e.is_symlink() for e in found) else folder
    for entry in found:
        if entry.is_symlink() and here.is_relative_to(target := Path(entry.path).resolve()):
            raise UserError(f"{entry.path} is a link to {target}, the folder it is in or one above it: remove it")
    return sorted(entry.name for entry in found)


def count_files_beside(folder: Path, left_out: LeftOut, prefix: str = "") -> None:
    """Count the files in a folder of class folders, and links that lead nowhere.

    Args:
        folder: The folder.
        left_out: Counts them.
        prefix: Of their names in messages.
    """
    for name in sorted(file_names(folder)):
        if is_special(folder / name):
            left_out.add("special file", prefix + name)
        elif is_image_name(name):
            left_out.add(f"{Path(name).suffix.lower()} beside the class folders", prefix + name)
        else:
            left_out.add_file(folder / name, prefix + name)


def file_names(folder: Path) -> Iterator[str]:
    """Yield the names of the visible files in a folder itself, links that lead nowhere among them, in no order."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()
                if not is_folder and not entry.name.startswith(".") and entry.name.lower() not in _SYSTEM_FILES:
                    yield entry.name
    except OSError as error:
        _unreadable(error)


def image_names(folder: Path) -> Iterator[str]:
    """Yield the names of the images in a folder itself, in no particular order."""
    return (name for name in file_names(folder) if is_image_name(name) and not is_special(folder / name))


def holds_images(folder: Path) -> bool:
    """Whether there are images in the folder itself; stops at the first."""
    return next(image_names(folder), None) is not None


def contains_images(folder: Path) -> bool:
    """Whether there are images in the folder or below; stops at the first."""
    return next(find_image_files(folder), None) is not None


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(f"cannot list folder {error.filename}: {error.strerror}") from error


def find_image_files(folder: Path, left_out: LeftOut | None = None, prefix: str = "") -> Iterator[str]:
    """Yield the image files below ``folder`` as relative paths with forward slashes, in no particular order.

    Hidden files and folders are skipped. Links to folders inside are not followed: they may form a cycle.

    Args:
        folder: Where to look.
        left_out: Counts other files, and links to folders.
        prefix: Of their names in messages.
    """
    for root, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".") and name != LOGS]
        special = _special_names(root) if files else set()
        for name in files:
            if name in special:
                if left_out is not None and not name.startswith("."):
                    left_out.add("special file", prefix + Path(root, name).relative_to(folder).as_posix())
            elif is_image_name(name):
                yield Path(root, name).relative_to(folder).as_posix()
            elif left_out is not None and not name.startswith(".") and name.lower() not in _SYSTEM_FILES:
                path = Path(root, name)
                left_out.add_file(path, prefix + path.relative_to(folder).as_posix())
        for name in folders if left_out is not None else ():
            path = Path(root, name)
            if left_out is not None and path.is_symlink():
                left_out.add("link to a folder", prefix + path.relative_to(folder).as_posix())
