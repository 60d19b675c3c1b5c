"""``lit-cnn prepare``: fetch, verify and decode all images of a data set, as fit does before it trains.

With ``--shards DIR`` it then writes them as shards for ``--data Stream``; with ``--haze DIR`` it writes pairs of hazy
and clear photos for ``--data DehazePairs`` instead.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from jsonargparse import ActionConfigFile, ArgumentError
from lightning.pytorch.cli import LightningArgumentParser
from rich.table import Table
from rich.text import Text

from lit_cnn import plugins
from lit_cnn.cli import import_allowlist, transport, validation
from lit_cnn.cli.argv import Arguments, parse
from lit_cnn.cli.config import contents, data_settings, expand_homes, find_config
from lit_cnn.cli.data_argument import choose_data
from lit_cnn.cli.parser_errors import humanize_parser_error, reporting_mistakes
from lit_cnn.data import ImageDataModule, ImageFolder
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.haze import write_hazy_pairs
from lit_cnn.data.image_files import ImageFilesDataModule
from lit_cnn.data.multilabel import images_per_class
from lit_cnn.data.registry import datasets
from lit_cnn.data.shards.format import webdataset, write_shards
from lit_cnn.errors import UserError
from lit_cnn.utils.console import Display, say, show
from lit_cnn.utils.cpu import num_cores
from lit_cnn.utils.files import expand_home

SHARD_MB = 64  # a second of a fast network: fewer requests gain nothing, and 16 of them mix 50,000 photos


def main(words: list[str], debug: bool = False) -> None:
    """Fetch, verify and unpack the images as their settings say, decode every one, and print how many there are.

    Raises:
        UserError: for settings that are not about the data, data that cannot be used, and unreadable image files where
            the policy is not to skip them; these have been listed then.
    """
    arguments = parse(words)
    if arguments.haze is not None:
        _add_haze(arguments, arguments.haze)
        return
    plugins.import_plugins(arguments.allow_import)
    arguments.configs = [find_config(config) for config in arguments.configs]
    chosen = choose_data(arguments, None)
    for note in arguments.notes:
        say(note)
    with import_allowlist.only_allowed(import_allowlist.with_plugins(arguments.allow_import)):
        data = build_data_module(arguments, chosen)
    if arguments.shards is not None:
        webdataset()  # not after minutes of decoding
        if not isinstance(data, ImageFolder):
            raise UserError(f"--shards are written from folders of images, not from {type(data).__name__}")
    data.prepare_data()
    broken: dict[str, str] = {}
    if isinstance(data, ImageFilesDataModule):
        paths = data.all_paths()[1]
        broken = data.broken
        for path, reason in broken.items():
            say(f"{path}: {reason}")
    _print_counts(data)
    if not isinstance(data, ImageFilesDataModule):
        return
    found = f"{len(broken):,} of {len(paths):,} images cannot be read"
    if broken and data.on_bad_image == "error":
        raise UserError(f"{found}, listed above: fix or remove them, or skip them with --data.on_bad_image skip")
    say((f"{found}, and are skipped" if broken else f"all {len(paths):,} images can be read") + _kinds(data, paths))
    if arguments.shards is not None:
        _write_shards(data, Path(expand_home(arguments.shards)), (arguments.shard_mb or SHARD_MB) * 1_000_000)


def _add_haze(arguments: Arguments, out: str) -> None:
    """Write pairs of hazy and clear photos, made of the photos in a folder.

    Raises:
        UserError: no folder is named, or something else is.
    """
    named = [value for name, value in arguments.flags if name in ("--data", "--data.data_dir")]
    others = [name for name, _ in arguments.flags if name not in ("--data", "--data.data_dir")]
    if others or arguments.configs or arguments.shards is not None:
        raise UserError(f"{(others or ['--config' if arguments.configs else '--shards'])[0]} has no effect with --haze")
    folder = Path(expand_home(named[-1])) if named else Path()
    if not named or not folder.is_dir():
        raise UserError("--haze adds haze to the photos of a folder: lit-cnn prepare PHOTOS --haze OUT")
    target = Path(expand_home(out))
    broken = write_hazy_pairs(folder, target, num_cores(), Display())
    for path, reason in broken.items():
        say(f"left out, cannot be read: {path} ({reason})", error=True)
    say(f"train on them with --data DehazePairs --data-dir {target}")


def _kinds(data: ImageFilesDataModule, paths: list[str]) -> str:
    """Return the number of images by extension where there are several, and that of the files left out."""
    kinds = Counter(Path(path).suffix.lower()[1:] for path in paths)
    listed = f": {', '.join(f'{count:,} {kind}' for kind, count in kinds.most_common())}" if len(kinds) > 1 else ""
    return f"{listed}; {data.left_out.count:,} other files are left out, see above" if data.left_out else listed


def _write_shards(data: ImageDataModule, out: Path, shard_bytes: int) -> None:
    parts = data.splits()
    source = next(iter(parts.values())).source
    assert isinstance(source, FileSource)
    shards = write_shards(out, source, parts, data.class_names, shard_bytes, Display())
    size = sum(shard.size for shard in shards) / 1e6
    say(f"wrote {len(shards):,} shards, {size:,.1f} MB in all: train on them with --data Stream --data-dir {out}")


def build_data_module(arguments: Arguments, chosen: str, command: str = "prepare") -> ImageDataModule:
    """Build the data set that a command line names, for a command that reads images and no checkpoint.

    Args:
        arguments: the command line.
        chosen: the data set, of ``choose_data``.
        command: in messages.

    Raises:
        UserError: for settings that are not about the data, and those that the data set refuses.
    """
    validation.check_flags(arguments, None)
    for name in sorted(arguments.names()):
        if name.partition(".")[0] != "data":
            raise UserError(f"--{name} has no effect on {command}: leave it out")
    if arguments.ckpt_path or arguments.resume is not None:
        raise UserError(f"{command} reads images, not a checkpoint: leave --ckpt_path and --resume out")
    parser = LightningArgumentParser(
        prog=f"lit-cnn {command}",
        description="Fetch, verify and unpack images, decode every one, and list those that cannot be read.",
        exit_on_error=False,
        parser_mode=transport.MODE,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="a YAML file, of which only data is read")
    parser.add_lightning_class_args(ImageDataModule, "data", subclass_mode=True, required=True)
    words: list[str] = []
    for path, content in contents(arguments).items():
        if "data" in content:  # the rest of a training run's settings is not needed here
            words += ["--config", transport.hand_over(f"data of {path}", {"data": content["data"]})]
    flags = [(flag, expand_homes(value)) for flag, value in arguments.flags]
    transport.keep_paths(flags)
    words += [word for flag in flags for word in flag]
    try:
        settings = parser.parse_args(words + arguments.bare)
    except ArgumentError as error:
        raise UserError(humanize_parser_error(str(error), data_settings(chosen), datasets())) from error
    expand_homes(settings)
    with reporting_mistakes():
        data: ImageDataModule = parser.instantiate_classes(settings).data
    return data


def _print_counts(data: ImageDataModule) -> None:
    """Print a table of the number of images by class and split."""
    splits = data.splits()
    counts = {
        name: images_per_class(split.source.targets[split.indices], data.num_classes).tolist()
        for name, split in sorted(splits.items(), key=lambda item: ("train", "val", "test").index(item[0]))
    }
    table = Table("class", box=None, pad_edge=False)
    for name in counts:
        table.add_column(name, justify="right")
    for index, label in enumerate(data.class_names):
        table.add_row(Text(label), *(f"{column[index]:,}" for column in counts.values()))
    table.add_row("all", *(f"{sum(column):,}" for column in counts.values()), style="bold")
    show(table)
