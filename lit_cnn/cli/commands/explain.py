"""``lit-cnn explain --ckpt_path best PICTURE …``: heat maps with their tests, feature maps, filters, weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.flag_values import import_names
from lit_cnn.errors import UserError
from lit_cnn.utils.files import expand_home

if TYPE_CHECKING:
    from lit_cnn.checkpoint.record import CheckpointRecord

EPILOG = """\
For each image: Grad-CAM, LayerCAM and occlusion for its most probable classes,
and feature maps. For all: the images that excite filters most, the first
layer's filters, histograms of the weights, and scores.csv.

deletion    area under the class's probability while the hottest pixels are
            removed first: smaller is better
insertion   the same while they appear in a blurred image: larger is better
unlearned   correlation with the map of the same network with shuffled weights:
            near 1, the map shows edges and not what was learned

examples:
  lit-cnn explain --ckpt_path best rose.jpg
  lit-cnn explain --ckpt_path flowers photos/ --top 3 --max-images 50
  lit-cnn explain --ckpt_path best rose.jpg --class tulips --layer layer3
  lit-cnn explain --ckpt_path best rose.jpg --layers layer1,layer2,layer4
"""


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``.

    Raises:
        UserError: there is no such checkpoint, image, layer or class, the network has no layer with positions, or the
            folder cannot be written.
    """
    parser = _parser()
    own = parser.parse_args([_with_hyphens(word) for word in words[1:]])
    for flag in ("top", "max_images"):
        if getattr(own, flag) < 1:
            raise UserError(f"--{flag.replace('_', '-')} must be 1 or more, got {getattr(own, flag)}")
    from lit_cnn import plugins, run_folder  # torch is slow to import, --help is not
    from lit_cnn.cli.checkpoint_argument import open_checkpoint
    from lit_cnn.cli.explain_run import Options, explain_run
    from lit_cnn.cli.trained_task import check_classifier
    from lit_cnn.utils.console import say
    from lit_cnn.utils.lightning_internals import silence_lightning

    silence_lightning()
    allowed = [name for names in own.allow_import for name in import_names(names)]
    plugins.import_plugins(allowed)
    record = open_checkpoint(own.ckpt_path, allowed)
    check_classifier(record, "explain")
    layers = [name.strip() for name in (own.layers or "").split(",") if name.strip()]
    options = Options(own.images, own.layer, layers, own.top, _number_of(own.class_name, record), own.max_images)
    folder = None if own.out_dir is None else Path(expand_home(own.out_dir))
    saved = explain_run(record, options, folder)
    say(f"saved {run_folder.format_path(saved)}")


def _number_of(name: str | None, record: CheckpointRecord) -> int | None:
    names = list(record.class_names)
    if name is None or name in names:
        return None if name is None else names.index(name)
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    raise UserError(f"--class {name}: the model has no such class; it has {shown}")


def _with_hyphens(word: str) -> str:
    """``--out_dir=a_b`` as ``--out-dir=a_b``."""
    flag, equals, value = word.partition("=")
    if flag in ("--out_dir", "--max_images"):
        flag = flag.replace("_", "-")
    return "--ckpt_path" + equals + value if flag == "--ckpt-path" else flag + equals + value


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="lit-cnn explain",
        description="Show what a trained network looks at, and test whether that is so.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("images", nargs="+", metavar="PICTURE", help="image files, folders and patterns")
    parser.add_argument("--ckpt_path", default="best", metavar="CKPT", help="checkpoint, run, or best (the default)")
    parser.add_argument("--layer", help="of Grad-CAM and LayerCAM; by default the last one with positions")
    parser.add_argument("--layers", metavar="A,B", help="of the feature maps; by default one of each resolution")
    parser.add_argument("--top", type=int, default=2, metavar="K", help="explain the K most probable classes (2)")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="explain this class instead")
    parser.add_argument("--max-images", type=int, default=16, metavar="N", help="explain the first N images (16)")
    parser.add_argument("--out-dir", metavar="DIR", help="by default explain in the run's folder, numbered")
    parser.add_argument(
        "--allow_import", action="append", default=[], metavar="PKG",
        help="package, or module of this folder, that registers models of your own",
    )  # fmt: skip
    return parser
