"""Find the image files that a list names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lit_cnn.data.decoding.find import is_image_name, visible_folders
from lit_cnn.data.lists.columns import find_paths
from lit_cnn.data.lists.rows import Row
from lit_cnn.data.lists.table import Table, read_table
from lit_cnn.errors import UserError
from lit_cnn.utils.files import expand_home


def find_root(path: Path, root: str | None) -> Path:
    """The folder that paths of a list are relative to.

    Args:
        path: the list.
        root: a folder, in the working folder or that of the list; null: that of the list.

    Raises:
        UserError: there is no such folder.
    """
    if root is None:
        return path.parent
    given = Path(expand_home(root))
    for place in (given, path.parent / given):
        if place.is_dir():
            return place
    raise UserError(f"there is no folder {root}, in {Path.cwd()} or in {path.parent}: correct `data.root`")


def resolve_paths(root: Path, rows: Sequence[Row], table: Table) -> tuple[list[str], list[int]]:
    """Paths of all rows with forward slashes, and with the extension where a name lacks it.

    Args:
        root: folder that they are relative to.
        rows: of the list.
        table: the list, for messages.

    Returns:
        One path a row, and the positions of those that are not there.

    Raises:
        UserError: an address, an empty path, or a name without extension that several files have.
    """
    paths: list[str] = []
    missing: list[int] = []
    stems: dict[Path, dict[str, list[str]]] = {}
    for position, row in enumerate(rows):
        path, where = row.path, f"{table.path} {table.line} {row.line}"
        if not path:
            raise UserError(f"{where} has no path")
        if "://" in path:
            raise UserError(f"{where}: {path} is an address: download the images, and list their paths")
        if not _is_file(root, path):
            if "\\" in path and _is_file(root, path.replace("\\", "/")):
                path = path.replace("\\", "/")
            else:
                found = _with_extension(root, path.replace("\\", "/"), stems)
                if len(found) > 1:
                    raise UserError(f"{where}: {path} can be {found[0]} or {found[1]}: add the extension")
                path = found[0] if found else path
                if not found:
                    missing.append(position)
        paths.append(os.path.normpath(path).replace(os.sep, "/"))
    return paths, missing


def listed_images(path: Path, root: str | None = None, column: str | None = None) -> list[str]:
    """Paths of the images of a list, each once, for prediction; its labels do not matter.

    Args:
        path: the list.
        root, column: see :func:`find_root` and ``ImageList``.

    Raises:
        UserError: the list cannot be read, or an image is not there.
    """
    table, folder = read_table(path), find_root(path, root)
    cells = table.columns[find_paths(table, column)]
    rows = [Row(*cell, None) for cell in zip(cells, table.lines, strict=True)]
    paths, missing = resolve_paths(folder, rows, table)
    if missing:
        raise UserError(explain_missing_files(folder, rows, missing, table))
    return [str(folder / path) for path in dict.fromkeys(paths)]


def _is_file(root: Path, path: str) -> bool:
    try:
        return (root / path).is_file()
    except (OSError, ValueError):  # such as a name that is too long
        return False


def _with_extension(root: Path, path: str, stems: dict[Path, dict[str, list[str]]]) -> list[str]:
    """Images that have the name ``path`` and an extension; ``stems`` remembers those of a folder."""
    folder, name = (root / path).parent, Path(path).name
    if folder not in stems:
        stems[folder] = {}
        if folder.is_dir():
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if is_image_name(entry.name):
                        stems[folder].setdefault(Path(entry.name).stem, []).append(entry.name)
    return [(Path(path).parent / found).as_posix() for found in stems[folder].get(name, [])]


def explain_missing_files(root: Path, rows: Sequence[Row], missing: Sequence[int], table: Table) -> str:
    """The message for images that are not there: how many, the first ones, and where they may be."""
    first = [rows[position] for position in missing[:3]]
    listed = ", ".join(f"{row.path} ({table.line} {row.line})" for row in first)
    more = ", ..." if len(missing) > len(first) else ""
    place = root if root.name else Path.cwd()
    text = f"{table.path}: {len(missing):,} of {len(rows):,} images are not in {place}: {listed}{more}"
    for folder in _folders_below(root):
        if all(_is_file(folder, row.path) or _with_extension(folder, row.path, {}) for row in first):
            return f"{text}; they are in {folder}: give `data.root={folder}`"
    if len(missing) == len(rows):
        return f"{text}; give the folder that the paths count from, `data.root=DIR`"
    return f"{text}; restore them, remove their rows, or leave them out with `data.on_bad_image=skip`"


def _folders_below(root: Path, most: int = 50) -> list[Path]:
    """Folders in a folder, and in those, to look for images in; and the folder above."""
    found = [root.parent]
    for name in visible_folders(root)[:most]:
        found += [root / name, *(root / name / inner for inner in visible_folders(root / name)[:5])]
    return found[:most]
