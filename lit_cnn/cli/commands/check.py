"""``lit-cnn check DATA``: broken files, duplicates, leaks between splits, labels that look wrong; a page of them."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from lit_cnn import plugins
from lit_cnn.checkpoint.find import find_checkpoint
from lit_cnn.checkpoint.record import read_record
from lit_cnn.cli import import_allowlist
from lit_cnn.cli.argv import Arguments, parse
from lit_cnn.cli.checkpoint_argument import check_plugins
from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.commands.prepare import build_data_module
from lit_cnn.cli.config import find_config
from lit_cnn.cli.data_argument import choose_data
from lit_cnn.data import ArrayDataModule, ImageDataModule, ImageFolder, Images
from lit_cnn.data.array_source import ArraySource
from lit_cnn.data.decoding.formats import MAX_PIXELS, open_image, to_channels, upright_image
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.loading.loader import BatchLoader
from lit_cnn.data.quality.findings import Item, check_items
from lit_cnn.data.quality.scan import Scanned, scan_arrays, scan_files
from lit_cnn.data.split import Split
from lit_cnn.errors import UserError
from lit_cnn.results.check_page import write_check_page
from lit_cnn.results.check_report import CheckReport, Finding, check_table, ignore_lines
from lit_cnn.results.label_check import held_out_probabilities, suspicious_labels, worth_labelling
from lit_cnn.utils.console import Display, say, show
from lit_cnn.utils.cpu import num_cores
from lit_cnn.utils.files import atomic_write, expand_home

EXIT_FINDINGS = 1
PICTURE = 170  # pixels, on the page
EPILOG = """\
exit status: 0 nothing found, 1 findings, 2 a mistake in the command

examples:
  lit-cnn check photos                              one folder per class
  lit-cnn check Flowers --data-dir data             a data set by name
  lit-cnn check photos --write-ignore ignore.txt    then: fit --data.ignore
  lit-cnn check photos --ckpt_path best             labels that look wrong, too
  lit-cnn check photos --ckpt_path best --unlabelled new
"""


def main(words: list[str], debug: bool = False) -> None:
    """Check the images of a data set.

    Raises:
        SystemExit: with status 1 where something was found.
        UserError: for data that cannot be used, and a file that cannot be written.
    """
    own, arguments = _parse(words)
    plugins.import_plugins(arguments.allow_import)
    arguments.configs = [find_config(config) for config in arguments.configs]
    chosen = choose_data(arguments, None)
    for note in arguments.notes:
        say(note)
    if own.unlabelled and not own.ckpt_path:
        raise UserError("--unlabelled needs a trained model that says what it is unsure of: --ckpt_path best")
    with import_allowlist.only_allowed(import_allowlist.with_plugins(arguments.allow_import)):
        data = build_data_module(arguments, chosen, "check")
    data.prepare_data()
    checked = CheckedData(data)
    report = check_items(checked.title, checked.items, checked.scanned, data.class_names)
    if own.ckpt_path:
        _ask_model(own, arguments, checked, report)
    show(check_table(report))
    for fact in report.facts:
        say(fact)
    for number, (name, reason) in enumerate(report.worth_labelling[:10], 1):
        say(f"worth labelling {number}: {name} ({reason})")
    _write(own, checked, report)
    if not report.clean:
        raise SystemExit(EXIT_FINDINGS)


def _parse(words: list[str]) -> tuple[argparse.Namespace, Arguments]:
    parser = CommandParser(
        prog="lit-cnn check",
        description="Find broken files, duplicates, leaks between splits and labels that look wrong.",
        usage="lit-cnn check DATA [options] [--data.SETTING VALUE ...]",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--page", metavar="FILE", default="check.html", help="the page with the pictures; %(default)s")
    parser.add_argument("--write-ignore", "--write_ignore", metavar="FILE", help="write a list for --data.ignore")
    parser.add_argument("--ckpt_path", "--ckpt-path", metavar="PATH", help="a model, for labels that look wrong")
    parser.add_argument("--unlabelled", metavar="DIR", help="name the images in DIR that are most worth a label")
    own, rest = parser.parse_known_args(words[1:])
    return own, parse([words[0], *rest])


@dataclass
class CheckedData:
    """The images of a data set, as a check needs them: from files, or in memory."""

    data: ImageDataModule

    def __post_init__(self) -> None:
        """List the images.

        Raises:
            UserError: This kind of data set cannot be checked.
        """
        if not isinstance(self.data, (ImageFolder, ArrayDataModule)):
            raise UserError(
                f"check reads folders of images and data sets in memory, not {type(self.data).__name__}: check the "
                "images that the shards were written from"
            )
        if isinstance(self.data, ImageFolder):
            self.data.on_leak = "off"  # they are findings, and all files are checked
        self.splits = self.data.splits()
        names = self.data.class_names
        self.rows: list[tuple[Split, int]] = []
        self.items: list[Item] = []
        for name in (name for name in ("train", "val", "test") if name in self.splits):
            split = self.splits[name]
            for index in split.indices.tolist():
                self.rows.append((split, index))
                label = _label(names, split.source.targets[index])
                self.items.append(Item(self.data.sample_name(name, index), name, label))

    @property
    def title(self) -> str:
        """Return what is checked."""
        name = type(self.data).__name__
        return str(self.data.data_dir) if name == "ImageFolder" else name

    @cached_property
    def scanned(self) -> list[Scanned]:
        """What the scan says of every image."""
        if isinstance(self.data, ImageFolder):
            root = self.data.root()
            workers = self.data.workers if isinstance(self.data.workers, int) else num_cores(1)
            paths = [split.source.name(index) for split, index in self.rows]
            return scan_files(root, paths, self.data.max_pixels, workers, Display())
        found: list[Scanned] = []
        for split in _in_order(self.splits):
            assert isinstance(split.source, ArraySource)
            found += scan_arrays(split.source.images[split.indices].numpy())
        return found

    @cached_property
    def _position(self) -> dict[str, int]:
        return {item.name: i for i, item in enumerate(self.items)}

    def picture(self, name: str) -> str:
        """Return a small picture of an image as a data address; "" where it cannot be read."""
        position = self._position.get(name)
        if position is None:
            return _file_picture(Path(name))
        split, index = self.rows[position]
        if isinstance(split.source, FileSource):
            return _file_picture(split.source.root / split.source.paths[index])
        assert isinstance(split.source, ArraySource)
        pixels = split.source.images[index].numpy()
        image = Image.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))
        scale = max(1, PICTURE // max(image.size))
        return _address(image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST))


def _label(names: Sequence[str], target: Tensor) -> str:
    """The class of an image, or all its labels."""
    return names[int(target)] if target.ndim == 0 else "|".join(names[k] for k in target.nonzero().flatten().tolist())


def _file_picture(path: Path) -> str:
    try:
        with open_image(path, MAX_PIXELS) as image:
            image.draft("RGB", (2 * PICTURE, 2 * PICTURE))
            small = to_channels(upright_image(image), 3)
            small.thumbnail((PICTURE, PICTURE))
            return _address(small)
    except Exception:  # a broken file has no picture
        return ""


def _address(image: Image.Image) -> str:
    content = BytesIO()
    image.save(content, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _ask_model(own: argparse.Namespace, arguments: Arguments, checked: CheckedData, report: CheckReport) -> None:
    from lit_cnn.cli.model_features import FeatureModel

    if checked.data.multilabel:
        raise UserError("--ckpt_path looks for wrong labels where images have one label, and these have several")

    record = read_record(find_checkpoint(expand_home(own.ckpt_path), Path(), "best"))
    check_plugins(record, arguments.allow_import)
    model = FeatureModel(record)
    good = [i for i, row in enumerate(checked.scanned) if not row.broken]
    if isinstance(checked.data, ImageFolder):
        root = checked.data.root()
        features, _ = model.of_files([str(root / checked.rows[i][0].source.name(checked.rows[i][1])) for i in good])
    else:
        loaders = [BatchLoader(split.source, split.indices, batch_size=256) for split in _in_order(checked.splits)]
        features = np.concatenate([model.of_batches(checked.data, loader)[0] for loader in loaders])
    names = checked.data.class_names
    labels = np.array([names.index(checked.items[i].label) for i in good])
    chosen, looks = suspicious_labels(held_out_probabilities(features, labels, len(names)), labels)
    for i, label in zip(chosen.tolist(), looks.tolist(), strict=True):
        item = checked.items[good[i]]
        report.findings.append(Finding("label", f"looks like {names[label]}", (item.name,), (item.place,)))
    if own.unlabelled:
        paths = Images(paths=[own.unlabelled]).all_paths()[1]
        features, probs = model.of_files(paths)
        for i in worth_labelling(probs, features, 20).tolist():
            first, second = probs[i].argsort()[::-1][:2]
            reason = f"{record.class_names[first]} {probs[i, first]:.2f}, {record.class_names[second]} "
            report.worth_labelling.append((paths[i], reason + f"{probs[i, second]:.2f}"))


def _in_order(splits: dict[str, Split]) -> list[Split]:
    return [splits[name] for name in ("train", "val", "test") if name in splits]


def _write(own: argparse.Namespace, checked: CheckedData, report: CheckReport) -> None:
    def written(path: Path, write: Callable[[Path], None], what: str) -> None:
        try:
            write(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
        say(f"{what}: {path}")

    def write_ignore(path: Path) -> None:
        with atomic_write(path) as file:
            file.write("\n".join(ignore_lines(report.findings)) + "\n")

    written(Path(expand_home(own.page)), lambda path: write_check_page(path, report, checked.picture), "page")
    if own.write_ignore:
        path = Path(expand_home(own.write_ignore))
        written(path, write_ignore, "ignore list, for fit and test with --data.ignore")
