"""Layout of a folder of images: which folders are splits, and which are classes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lit_cnn.data.decoding.find import contains_images, file_names, holds_images, image_names, visible_folders
from lit_cnn.data.lists.table import list_hint
from lit_cnn.errors import UserError, nearest

_EXACT = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_WORDS = {
    **_EXACT,
    **dict.fromkeys(("training", "trn"), "train"),
    **dict.fromkeys(("dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("testing", "tst"), "test"),
}
_FILLER = "set|sets|data|dataset|images?|imgs?|pictures?|photos?|folder|split|seg|raw|ds"
# A word of _WORDS among fillers and numbers: seg_train, training_set, TestImages, train2017.
_SPLIT_NAME = re.compile(
    rf"(?:(?:{_FILLER})[\W_]*)*({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?:[\W_]*(?:{_FILLER}|\d+))*"
)
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_OF_SYSTEM = "__MACOSX"  # of an archive made on a Mac
# Folders of other things than images, beside a folder of images.
_BESIDE = {
    *("labels", "annotations", "annotation", "annots", "labeltxt"),
    *("meta", "metadata", "docs", "imagesets", "lists"),
}
# Folders of images of every class.
_IMAGES = {"images", "image", "imgs", "img", "jpegimages", "photos", "pictures"}
_DEPTH = 4  # folders around the classes


@dataclass
class Layout:
    """Where the class folders are.

    Attributes:
        folders: Folders that hold class folders: by split ("train", "val", "test"), or all under "all".
        flat: Split folders that hold images but no class folders, by split.
        notes: Lines for the user.
    """

    folders: dict[str, Path]
    flat: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def split_of(name: str, others: Iterable[str] = ()) -> str | None:
    """Return the split that a folder's name means, or None.

    Args:
        name: For example ``train``, ``Testing``, ``seg_train``, ``validation_set``.
        others: Names beside it: where one of these is val, ``evaluation`` is test.
    """
    found = _SPLIT_NAME.fullmatch(name.lower())
    if found is None:
        return None
    word = found[1]
    if word.startswith("eval") and any(split_of(other) == "val" for other in others if "eval" not in other.lower()):
        return "test"
    return _WORDS[word]


def find_layout(root: Path, known: Collection[str] = ()) -> Layout:
    """Find the split and class folders in ``root``, or in the one folder in it that holds them.

    Args:
        root: An existing folder.
        known: Class names that the model has: folders of these names are classes.

    Raises:
        UserError: There are several folders for one split, or a train folder without class folders.
    """
    inner = _unwrap(root, known, around_splits=True)
    notes = [f"{root}: using {inner.relative_to(root)}, the only folder in it with images"] if inner != root else []
    layout = _find_splits(inner, known)
    layout.notes = notes + layout.notes
    if "all" in layout.folders:
        _refuse_no_classes(inner, known)
        layout.notes += _suspicions(inner, known)
    return layout


def _find_splits(root: Path, known: Collection[str]) -> Layout:
    folders = [name for name in visible_folders(root) if name != _OF_SYSTEM]
    splits = {name: split for name in folders if (split := split_of(name, folders)) is not None}
    # A folder of class folders; one that holds image files itself is a class called "train", which is a vehicle.
    nested = [name for name in splits if _is_nested(root / name, exact=name.lower() in _EXACT)]
    flat = [name for name in splits if name not in nested and holds_images(root / name)]
    if "train" not in (splits[name] for name in nested) and (named := _by_content(root, folders)):
        nested = list(named)
        splits.update(named)
    chosen = {splits[name]: root / name for name in nested}
    if len(nested) > 1 and set(nested) <= set(known):  # an earlier version took them for classes
        return Layout({"all": root})
    if "train" in chosen and len(chosen) < len(nested):
        counts = Counter(splits[name] for name in nested)
        same = [name for name in nested if counts[splits[name]] > 1]
        raise UserError(f"{root} has several folders for the same split ({', '.join(same)}): keep one of each")
    if "train" not in chosen and not set(splits) & set(known):
        _refuse_no_train(root, folders, {name: splits[name] for name in flat}, nested)
    if "train" not in chosen and not (chosen and len(chosen) == len(folders)):
        return Layout({"all": root})
    layout = Layout({}, flat={splits[name]: root / name for name in flat if splits[name] not in chosen})
    train = chosen.get("train")
    keep = set(known)
    if train is not None:
        chosen["train"] = _unwrap(train, keep)
        _refuse_no_classes(chosen["train"], known)
        keep.update(visible_folders(chosen["train"]))
    layout.folders = {split: chosen[split] if split == "train" else _unwrap(chosen[split], keep) for split in chosen}
    unlabelled: list[str] = []
    for split in ("val", "test") if train is not None else ():
        if split in chosen and (note := _without_classes(layout.folders[split], keep)):
            layout.flat[split] = chosen[split]
            del layout.folders[split]
            unlabelled.append(note)
    used = [split for split in ("train", "val", "test") if split in layout.folders]
    taken = {split: layout.folders[split].relative_to(root).as_posix() for split in used}
    if any(name.lower() not in _EXACT for name in taken.values()):
        layout.notes.append(f"{root}: using {', '.join(f'{name} as {split}' for split, name in taken.items())}")
    layout.notes += [
        f"{folder} holds {sum(1 for _ in image_names(folder)):,} images without class folders: not used; move them to "
        f"{folder / '<class>'}"
        for split, folder in layout.flat.items()
        if split not in chosen
    ]
    layout.notes += unlabelled
    if others := [name for name in folders if name not in nested and root / name not in layout.flat.values()]:
        layout.notes.append(f"{root}: not used: {_some(others)}; used: {', '.join(taken.values())}")
    return layout


def _is_nested(folder: Path, exact: bool) -> bool:
    return bool(visible_folders(folder)) and (exact or not holds_images(folder))


def _refuse_no_train(root: Path, folders: Sequence[str], flat: dict[str, str], nested: Sequence[str]) -> None:
    """Refuse split folders without a train folder of class folders, where they would become classes."""
    train = [name for name, split in flat.items() if split == "train"]
    if flat and (len(flat) == len(folders) or (train and nested)):
        raise UserError(no_classes(root / [*train, *flat][0]))
    beside = [name for name in folders if name not in nested]
    for name in nested:
        if same := sorted(set(visible_folders(root / name)) & set(beside)):
            raise UserError(
                f"{root / name} holds class folders ({_some(same)}), and {root} itself too: move those in {root} to "
                f"{root / 'train'}"
            )


def _only_images(folder: Path, known: Collection[str]) -> Path | None:
    """Return the folder called images that alone holds images in ``folder``, without class folders, or None."""
    names = [name for name in visible_folders(folder) if name != _OF_SYSTEM]
    found = [name for name in names if name.lower() in _IMAGES]
    if len(found) != 1 or set(names) & set(known) or not holds_images(folder / found[0]):
        return None
    others = [name for name in names if name not in found and name.lower() not in _BESIDE]
    return None if any(contains_images(folder / name) for name in others) else folder / found[0]


def _refuse_no_classes(folder: Path, known: Collection[str]) -> None:
    """Refuse images and labels in two folders, as detectors have them, which would become two classes."""
    if (images := _only_images(folder, known)) is not None:
        raise UserError(no_classes(images))


def _without_classes(folder: Path, classes: Collection[str]) -> str | None:
    """Return a note if a val or test folder has none of the class folders of train, else None."""
    names = visible_folders(folder)
    if not names or set(names) & set(classes) or similar_names({*names, *classes}):
        return None
    if (images := _only_images(folder, classes)) is not None:
        count = sum(1 for _ in image_names(images))
        return f"{images} holds {count:,} images without class folders: not used; move them to {folder / '<class>'}"
    return f"{folder}: not used: none of its folders ({_some(names)}) is a class of train"


def no_classes(folder: Path) -> str:
    """Return the message for a folder of images without class folders."""
    names = list(image_names(folder))
    prefixes = Counter(word[0].lower() for name in names if (word := re.match(r"[^\W\d_]{2,}(?=[\W_]*\d)", name)))
    usual = {"img", "image", "dsc", "photo", "pic", "picture", "frame", "im", "test", "train", "val", "screenshot"}
    found = sorted(prefix for prefix, count in prefixes.most_common(6) if prefix not in usual and count > 1)
    text = f"{folder} holds {len(names):,} images but no class folders: move them to {folder / '<class>'}"
    return (f"{text}, such as {', '.join(found)}" if 2 <= len(found) <= 5 else text) + list_hint(folder)


def _loosely(name: str) -> str | None:
    """Return the split that is named in a folder's name, such as chest_xray_train, or None."""
    found = {_WORDS[word] for word in re.findall(r"[a-z]+", name.lower()) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def _by_content(root: Path, folders: Sequence[str]) -> dict[str, str]:
    """Return the split of folders that name it among other words, if these hold the same folders."""
    named = {name: split for name in folders if (split := _loosely(name)) is not None}
    if "train" not in named.values() or len(named) < 2:
        return {}
    inside = [set(visible_folders(root / name)) for name in named]
    alike = len(set.intersection(*inside)) >= 2 and not any(holds_images(root / name) for name in named)
    return named if alike else {}


def _unwrap(folder: Path, known: Collection[str], around_splits: bool = False) -> Path:
    """Return the folder around splits or classes: ``folder``, or what is in it alone, as an unpacked archive has it.

    Args:
        folder: Where to start.
        known: Names that are classes.
        around_splits: Whether to look for splits, too.
    """
    inner = folder
    for _ in range(_DEPTH):
        if holds_images(inner):
            return folder
        names = [name for name in visible_folders(inner) if name != _OF_SYSTEM]
        if set(names) & set(known):
            return inner
        if around_splits and any(split_of(name) and visible_folders(inner / name) for name in names):
            return inner
        classes = [name for name in names if name.lower() not in _BESIDE]
        images = [name for name in classes if name.lower() in _IMAGES]
        if len(images) == 1 and not any(contains_images(inner / name) for name in classes if name not in images):
            classes = images  # parts, attributes and the like beside it
        if len(classes) > 1:
            several = inner != folder and sum(contains_images(inner / name) for name in classes) > 1
            return inner if several else folder
        if not classes:
            return folder
        inner = inner / classes[0]
    return folder


def _suspicions(root: Path, known: Collection[str]) -> list[str]:
    """Return a note if class folders hold splits, or the same folders each, so that they are rather splits."""
    inside: dict[str, list[str]] = {}
    within: dict[str, Path] = {}  # where these are: an archive may hold its folder twice
    names = [name for name in visible_folders(root) if name != _OF_SYSTEM]
    for name in names:
        if name not in known and not holds_images(root / name):
            within[name] = _innermost(root / name)
            inside[name] = visible_folders(within[name])
    splits = {name: [each for each in folders if split_of(each, folders)] for name, folders in inside.items()}
    around = [
        name
        for name in splits
        if "train" in (kinds := {split_of(each, splits[name]) for each in splits[name]}) and kinds & {"val", "test"}
    ]
    if around:
        first, split = around[0], splits[around[0]][0]
        if visible_folders(within[first] / split):
            raise UserError(f"{within[first]} holds splits ({_some(splits[first])}): give that folder")
        return [f"{root}: the splits inside of {_some(around)} are not used; put them outside: {split}/{first}"]
    common = sorted(set.intersection(*map(set, inside.values()))) if len(inside) == len(names) > 1 else []
    if len(common) < 2:
        return []
    text = (
        f"{root}: {_some(names)} hold only folders, the same in each ({_some(common)}): if they are splits, not "
        "classes, rename them train, val, test"
    )
    if any(word in name.lower() for name in names for word in ("train", "test", "valid")):
        raise UserError(text)
    return [text]


def _innermost(folder: Path) -> Path:
    """Return ``folder``, or the folder that is in it alone, a few levels down."""
    for _ in range(_DEPTH):
        names = [] if holds_images(folder) else visible_folders(folder)
        if len(names) != 1:
            break
        folder = folder / names[0]
    return folder


def similar_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return groups of names that differ only in case, Unicode normal form, or spaces."""
    groups: dict[str, list[str]] = {}
    for name in names:
        key = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        groups.setdefault(key, []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _some(names: Sequence[str], count: int = 4) -> str:
    listed = ", ".join(names[:count])
    return listed if len(names) <= count else f"{listed} and {len(names) - count} more"


def explain_missing(folder: Path, hint: str) -> str:
    """Return the message for a data folder that is none."""
    if folder.is_file():
        archive = folder.name.lower().endswith(_ARCHIVES)
        return f"{folder} is an archive: unpack it, and give the folder" if archive else f"{folder} is a file: {hint}"
    if "\\" in str(folder) and (other := Path(str(folder).replace("\\", "/"))).is_dir():
        return f"there is no folder {folder}, but {other}: use forward slashes"
    near = nearest(folder.name, visible_folders(folder.parent), 1) if folder.parent.is_dir() else ""
    where = "" if folder.is_absolute() else f" in {Path.cwd()}"
    return f"there is no folder {folder}{where}{near or f'; {hint}'}"


def explain_empty(folder: Path, kinds: str, hint: str) -> str:
    """Return the message for a data folder without class folders."""
    names = sorted(file_names(folder))
    if holds_images(folder):
        return no_classes(folder) + "; to label them with a trained model, use predict"
    if archives := [name for name in names if name.lower().endswith(_ARCHIVES)]:
        return f"{folder} holds {archives[0]}: unpack it, and give the folder"
    if not names:
        return f"{folder} is empty: it has no class folders; {hint}"
    return f"{folder} has no class folders, and no images ({kinds}); {hint}"
