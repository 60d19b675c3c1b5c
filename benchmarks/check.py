"""What ``lit-cnn check`` finds, misses and invents: faults planted into a copy of a folder of photos.

    python -m benchmarks.check DIR [--each 20] [--ckpt_path PATH] [--seed 0]

``DIR`` holds one folder of photos per class. Of every kind, ``--each`` copies are planted: a photo encoded anew (JPEG
quality 50), at half its size, cropped by 5 % on every side, mirrored, 30 % brighter, copied byte for byte, and copied
into another class; truncated files; and, with a checkpoint, photos moved to another class. Prints how many of each kind
are found, and what else is reported that the untouched folder does not have.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from lit_cnn.cli.commands.check import CheckedData
from lit_cnn.data import ImageFolder
from lit_cnn.data.decoding.find import find_image_files
from lit_cnn.data.quality.findings import check_items
from lit_cnn.results.check_report import CheckReport
from lit_cnn.results.label_check import held_out_probabilities, suspicious_labels


def _cropped(image: Image.Image) -> Image.Image:
    x, y = round(image.width * 0.05), round(image.height * 0.05)
    return image.crop((x, y, image.width - x, image.height - y))


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded anew": lambda image: image,
    "resized by half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "cropped by 5 %": _cropped,
    "mirrored": ImageOps.mirror,
    "30 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
}


def plant(root: Path, each: int, rng: random.Random) -> dict[str, dict[str, str]]:
    """Plant copies and truncated files into ``root``; returns by kind the planted file and what it is a copy of."""
    classes = sorted(path.name for path in root.iterdir() if path.is_dir())
    photos = [root / name / path for name in classes for path in sorted(find_image_files(root / name))]
    rng.shuffle(photos)
    planted: dict[str, dict[str, str]] = {}

    def name(path: Path) -> str:
        return path.relative_to(root).as_posix()

    for kind, edit in EDITS.items():
        planted[kind] = {}
        for number in range(each):
            source = photos.pop()
            target = source.with_name(f"planted-{kind.split()[0]}-{number}.jpg")
            with Image.open(source) as image:
                edit(image.convert("RGB")).save(target, "JPEG", quality=50 if kind == "encoded anew" else 90)
            planted[kind][name(target)] = name(source)
    for kind in ("equal file", "in another class"):
        planted[kind] = {}
        for number in range(each):
            source = photos.pop()
            other = rng.choice([each for each in classes if each != source.parent.name])
            folder = source.parent if kind == "equal file" else root / other
            target = folder / f"planted-{kind.split()[0]}-{number}.jpg"
            shutil.copyfile(source, target)
            planted[kind][name(target)] = name(source)
    planted["truncated"] = {}
    for number in range(each):
        source = photos.pop()
        target = source.with_name(f"planted-truncated-{number}.jpg")
        target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
        planted["truncated"][name(target)] = name(source)
    return planted


def check(root: Path) -> tuple[CheckReport, CheckedData]:
    """Check a folder."""
    checked = CheckedData(ImageFolder(data_dir=str(root)))
    return check_items(str(root), checked.items, checked.scanned, checked.data.class_names), checked


def pairs(report: CheckReport) -> set[frozenset[str]]:
    """Return all pairs of images that are reported as the same photo."""
    kinds = ("leak", "two labels", "duplicate", "near duplicate")
    groups = [finding.images for kind in kinds for finding in report.of(kind)]
    return {frozenset((a, b)) for images in groups for a in images for b in images if a < b}


def planted_labels(root: Path, each: int, ckpt_path: str, rng: random.Random) -> str:
    """Move photos to another class, and return how many are among the first that look wrong."""
    from lit_cnn.checkpoint.record import read_record
    from lit_cnn.cli.model_features import FeatureModel

    classes = sorted(path.name for path in root.iterdir() if path.is_dir())
    photos = [root / name / path for name in classes for path in sorted(find_image_files(root / name))]
    labels = np.array([classes.index(path.parent.name) for path in photos])
    wrong = rng.sample(range(len(photos)), each)
    for i in wrong:
        labels[i] = rng.choice([k for k in range(len(classes)) if k != labels[i]])
    features, _ = FeatureModel(read_record(Path(ckpt_path))).of_files(list(map(str, photos)))
    chosen, _ = suspicious_labels(held_out_probabilities(features, labels, len(classes)), labels)
    found = [len(set(chosen[:n].tolist()) & set(wrong)) for n in (each, len(chosen))]
    return f"wrong labels: {found[0]} of {each} among the first {each}, {found[1]} of {each} among all {len(chosen)}"


def main() -> None:
    """Plant, check, and print one line for each kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ckpt_path")
    own = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "photos")
        shutil.copytree(own.dir, root)
        before = pairs(check(root)[0])
        planted = plant(root, own.each, random.Random(own.seed))
        report, _ = check(root)
        after = pairs(report)
        originals = {new: old for files in planted.values() for new, old in files.items()}
        for kind, files in planted.items():
            if kind == "truncated":
                broken = {finding.images[0] for finding in report.of("broken")}
                found = len(broken & set(files))
                print(f"{kind}: {found} of {len(files)} found, {len(broken - set(files))} false alarms")
                continue
            found = sum(frozenset((new, old)) in after for new, old in files.items())
            # a copy of a photo that was there twice is like the other one, too
            false = [p for p in after - before if set(p) & set(files) and not _expected(p, originals, before)]
            print(f"{kind}: {found} of {len(files)} found, {len(false)} false alarms")
        print(f"untouched folder: {len(before)} pairs")
        if own.ckpt_path:
            print(planted_labels(own.dir, own.each, own.ckpt_path, random.Random(own.seed)))


def _expected(pair: frozenset[str], originals: dict[str, str], before: set[frozenset[str]]) -> bool:
    sources = {originals.get(name, name) for name in pair}
    return len(sources) == 1 or frozenset(sources) in before


if __name__ == "__main__":
    main()
