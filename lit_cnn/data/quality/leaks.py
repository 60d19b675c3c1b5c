"""Leaks: photos of the test or validation split that the model is trained on, too."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from lit_cnn.data.quality.thumbnails import correlation, thumbnail
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say

POLICIES = ("off", "error", "warn", "drop")
_END = 4096  # bytes at a file's end that are compared before all of it is read
_KNOWN_ALIKE = 0.9  # correlation of thumbnails of a known pair
_MOST = 20_000  # files that are opened for a warning: data of many files of equal size are left to the check command


@dataclass(frozen=True)
class KnownPair:
    """Two files of a published data set that show the same photo: paths relative to its root, and how they differ."""

    file: str
    other: str
    kind: str


def known_pairs(name: str) -> list[KnownPair]:
    """Return the known duplicates of a published data set, of ``lit_cnn/data/quality/NAME.csv``."""
    text = resources.files(__package__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return [KnownPair(**row) for row in csv.DictReader(text.splitlines())]


def _size(path: Path) -> int:
    """Return a file's size; -1 where it cannot be read, which is reported where it is decoded."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _END))
        return file.read()


def _alike(path: Path, other: Path) -> bool:
    try:
        return correlation(thumbnail(path), thumbnail(other)) > _KNOWN_ALIKE
    except Exception:  # a damaged file raises almost anything, and is reported where it is decoded
        return False


def _content(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()


def equal_files(
    root: Path, train: Sequence[str], held_out: Sequence[str], most: int | None = None
) -> list[tuple[str, str]]:
    """Find held-out files that are training files, too, byte for byte. Only files of equal size are opened.

    Args:
        root: Folder that the paths are relative to.
        train: Training files.
        held_out: Validation and test files.
        most: Give up, and return nothing, where more files than this have a size in common; None: never.

    Returns:
        Pairs of a held-out file and a training file, in the order of ``held_out``, then of ``train``.
    """
    by_size: dict[int, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for which, paths in enumerate((train, held_out)):
        for path in paths:
            by_size[_size(root / path)][which].append(path)
    shared = [both for size, both in by_size.items() if size >= 0 and both[0] and both[1]]
    if most is not None and sum(len(both[0]) + len(both[1]) for both in shared) > most:
        return []
    twins: dict[str, list[str]] = {}
    for both in shared:
        for path, same in _equal(root, both, (_end, _content)):
            twins.setdefault(path, []).append(same)
    return [(path, same) for path in held_out for same in twins.get(path, ())]


def _equal(
    root: Path, both: tuple[list[str], list[str]], hashes: Sequence[Callable[[Path], bytes]]
) -> list[tuple[str, str]]:
    """Return the pairs (second, first) of two lists that every one of ``hashes`` finds equal."""
    if not hashes:
        return [(second, first) for second in both[1] for first in both[0]]
    groups: dict[bytes, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for which, paths in enumerate(both):
        for path in paths:
            try:
                groups[hashes[0](root / path)][which].append(path)
            except OSError:  # reported where it is decoded
                continue
    return [pair for group in groups.values() if group[0] and group[1] for pair in _equal(root, group, hashes[1:])]


def _known_leaks(root: Path, split_of: Mapping[str, str], known: Sequence[KnownPair]) -> list[tuple[str, str]]:
    """Return the known pairs of a held-out and a training file that look alike: other files may have their names."""
    found = []
    for pair in known:
        for path, same in ((pair.file, pair.other), (pair.other, pair.file)):
            leaks = split_of.get(path) in ("val", "test") and split_of.get(same) == "train"
            if leaks and _alike(root / path, root / same):
                found.append((path, same))
    return found


def without_leaks(
    root: Path,
    paths: Sequence[str],
    indices: Mapping[str, Tensor],
    policy: str,
    known: Sequence[KnownPair] = (),
) -> tuple[dict[str, Tensor], str]:
    """Look for validation and test files among the training files, and do what ``policy`` says.

    The held-out splits never change, so that results stay comparable.

    Args:
        root: Folder that the paths are relative to.
        paths: All files.
        indices: int64 indices into ``paths`` of every split.
        policy: "warn": say one line; "drop": leave the training files out; "error": refuse; "off": do not look.
        known: Pairs that are known to show the same photo without being equal.

    Returns:
        int64 indices of every split, and what was found, in words.

    Raises:
        UserError: There are leaks and ``policy`` is "error", or dropping them leaves no training images.
    """
    held_out = [split for split in ("test", "val") if len(indices.get(split, ()))]
    if "train" not in indices or not held_out or policy == "off":
        return dict(indices), ""
    names = {split: [paths[i] for i in indices[split].tolist()] for split in ("train", *held_out)}
    split_of = {path: split for split, members in names.items() for path in members}
    others = [path for split in held_out for path in names[split]]
    pairs = equal_files(root, names["train"], others, _MOST if policy == "warn" else None)
    pairs = list(dict.fromkeys([*pairs, *_known_leaks(root, split_of, known)]))
    if not pairs:
        return dict(indices), ""
    text = _describe(pairs, names, split_of)
    if policy == "error":
        raise UserError(f"{root}: {text}: remove them, or leave them out of training with `data.on_leak=drop`")
    if policy == "warn":
        say(
            f"{root}: {text}: the scores will be too good; leave them out of training with `data.on_leak=drop`",
            error=True,
        )
        return dict(indices), text
    leaked = {same for _, same in pairs}
    kept = torch.tensor([paths[i] not in leaked for i in indices["train"].tolist()], dtype=torch.bool)
    if not kept.any():
        raise UserError(f"{root}: all training photos are validation or test photos, too: none is left")
    say(f"{root}: {text}: left {len(leaked):,} out of training", error=True)
    return {**indices, "train": indices["train"][kept]}, f"{text}: left out of training"


def _describe(pairs: Sequence[tuple[str, str]], names: Mapping[str, Sequence[str]], split_of: Mapping[str, str]) -> str:
    counts = []
    for split in ("test", "val"):
        number = len({path for path, _ in pairs if split_of[path] == split})
        if number:
            counts.append(f"{number:,} of {len(names[split]):,} {split} photos")
    path, same = pairs[0]
    verb = "is a training photo" if len({path for path, _ in pairs}) == 1 else "are training photos"
    return f"{' and '.join(counts)} {verb}, too ({path} = {same}{', ...' if len(pairs) > 1 else ''})"
