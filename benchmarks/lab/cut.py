"""A small image folder from a large one: ``python -m benchmarks.lab.cut DIR OUT --train 1000 --test 200``.

DIR holds ``{train,test}/<class>/*`` or ``<class>/*``. OUT/train gets the first images of each class in sorted order and
OUT/test the first ones of the test folder, or the last ones of each class where there is none. Files are copied.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path


def cut(source: Path, target: Path, train: int, test: int) -> int:
    """Copy at most so many images of each class, none into both parts; returns how many were copied."""
    divided = (source / "test").is_dir()
    copied = 0
    for group in sorted(path for path in (source / "train" if divided else source).iterdir() if path.is_dir()):
        members = _images(group)
        held_out = _images(source / "test" / group.name)[:test] if divided else members[-test:]
        first = members[:train] if divided else members[: min(train, len(members) - test)]
        for part, files in (("train", first), ("test", held_out)):
            folder = target / part / group.name
            folder.mkdir(parents=True)
            for path in files:
                shutil.copy(path, folder / path.name)
            copied += len(files)
    return copied


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def main(args: Sequence[str] | None = None) -> None:
    """Copy the images and print their number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="DIR")
    parser.add_argument("target", type=Path, metavar="OUT")
    parser.add_argument("--train", type=int, default=1000, help="training images of each class")
    parser.add_argument("--test", type=int, default=200, help="test images of each class")
    given = parser.parse_args(args)
    if min(given.train, given.test) < 1:
        parser.error("--train and --test count images of each class: give 1 or more")
    if not given.source.is_dir():
        parser.error(f"there is no folder {given.source}")
    if given.target.exists():
        parser.error(f"{given.target} exists")
    print(f"{cut(given.source, given.target, given.train, given.test)} images in {given.target}")


if __name__ == "__main__":
    main()
