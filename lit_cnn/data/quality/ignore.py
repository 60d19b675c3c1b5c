"""Ignore lists: a text file of images that a data set leaves out, one path a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from lit_cnn.data.split import Split
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say
from lit_cnn.utils.files import expand_home


def read_ignore(file: str | None, data_dir: str = "") -> set[str]:
    """Read an ignore list; lines that begin with ``#`` are comments.

    Args:
        file: Its path, in the working folder or else in ``data_dir``; None: there is none.
        data_dir: Folder of the data.

    Returns:
        Paths with forward slashes, relative to the folder of the data.

    Raises:
        UserError: There is no such file, or it is no text.
    """
    if file is None:
        return set()
    given = Path(expand_home(file))
    path = next((each for each in (given, Path(data_dir, given)) if each.is_file()), None)
    if path is None:
        raise UserError(f"there is no ignore list {given}: name a text file with `data.ignore=FILE`, one path a line")
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise UserError(f"cannot read ignore list {path}: {error.strerror}") from error
    words = (line.strip().replace("\\", "/") for line in lines)
    return {word.removeprefix("./") for word in words if word and not word.startswith("#")}


def note_unknown(ignored: Iterable[str], found: Iterable[str], where: object) -> None:
    """Say which lines of an ignore list name no image."""
    if unknown := sorted(set(ignored).difference(found)):
        more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        say(f"{where}: the ignore list names images that are not there: {unknown[0]}{more}", error=True)


def drop_ignored(splits: Mapping[str, Split], ignored: set[str]) -> dict[str, Split]:
    """Return splits of images in memory without those whose names are ignored."""
    if not ignored:
        return dict(splits)
    found = {}
    for name, split in splits.items():
        kept = [split.source.name(index) not in ignored for index in split.indices.tolist()]
        found[name] = Split(split.source, split.indices[torch.tensor(kept, dtype=torch.bool)])
    return found
