"""``lit-cnn inspect MODEL|CONFIG|CKPT``: every layer's output, parameters, MACs, receptive field, and gridding."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from lit_cnn import plugins
from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.flag_values import import_names
from lit_cnn.cli.inspected import Inspected, find_inspected
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say, show
from lit_cnn.utils.files import expand_home

OUT = Path("lightning_logs") / "inspect"
PREFIXES = ("--model.backbone_args.", "--backbone_args.")
EXAMPLES = """\
arguments of the model follow as in training, as --backbone_args.NAME VALUE

examples:
  lit-cnn inspect resnet18
  lit-cnn inspect resnet18 --img-size 32 --backbone_args.stem cifar
  lit-cnn inspect googlenet --depth 1
  lit-cnn inspect dilated_convnet --backbone_args.dilations [2,2,2]
  lit-cnn inspect resnet18_cifar
  lit-cnn inspect lightning_logs/version_0/checkpoints/best.ckpt
  lit-cnn inspect timm/resnet18 --out_dir plots
  lit-cnn inspect mynet --allow_import mypkg
"""


def main(words: list[str], debug: bool = False) -> None:
    """Run the command.

    Args:
        words: of the command line, from the command's name on.
        debug: not used.

    Raises:
        UserError: an unknown model or argument, or an image size that the model does not accept.
    """
    parser = _parser()
    words, backbone_args = _split_backbone_args(words[1:])
    arguments = parser.parse_args([_with_hyphens(word, parser) for word in words])
    allowed = [name for names in arguments.allow_import for name in import_names(names)]
    if allowed or plugins.announced():
        plugins.import_plugins(allowed)
    for flag in ("image_size", "depth", "in_channels", "num_classes"):
        given = getattr(arguments, flag)
        number = min(given) if isinstance(given, tuple) else given
        if number is not None and number < 1:
            raise UserError(f"--{flag.replace('_', '-')} must be 1 or more, got {number}")
    for key in ("in_channels", "num_classes"):
        if key in backbone_args:
            raise UserError(f"--backbone_args.{key} is no argument of the model here: give --{key.replace('_', '-')}")
    found = find_inspected(arguments.model, allowed) or Inspected(arguments.model, {}, None, None, None)
    inspect_model(
        found.backbone,
        image_size=arguments.image_size or found.image_size,
        depth=arguments.depth,
        out_dir=arguments.out_dir,
        backbone_args={**found.backbone_args, **backbone_args},
        in_channels=arguments.in_channels or found.in_channels,
        num_classes=arguments.num_classes or found.num_classes,
    )


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="lit-cnn inspect",
        description="Show the layers of a model that hold parameters or change the map.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "model",
        metavar="MODEL|CONFIG|CKPT",
        help="name, as lit-cnn models lists them; a config; or a checkpoint or run",
    )
    parser.add_argument("--image-size", "--img-size", type=size, help="side in pixels, or height x width: 96x128")
    parser.add_argument("--depth", type=int, help="group layers below this level; by default every layer has a line")
    parser.add_argument("--in-channels", type=int, help="channels of the image")
    parser.add_argument("--num-classes", type=int, help="number of logits")
    parser.add_argument("--out-dir", type=Path, default=OUT, help=f"folder for the plots ({OUT})")
    parser.add_argument(
        "--allow-import", action="append", default=[], metavar="PKG",
        help="package, or module of this folder, that registers models of your own",
    )  # fmt: skip
    return parser


def size(text: str) -> int | tuple[int, int]:
    """Read ``224``, or ``96x128`` (height x width)."""
    sides = [int(side) for side in text.lower().split("x", 1)]  # argparse reports a ValueError
    return sides[0] if len(set(sides)) == 1 else (sides[0], sides[1])


def _with_hyphens(word: str, parser: argparse.ArgumentParser) -> str:
    """``--out_dir=a_b`` as ``--out-dir=a_b``, for the flags of the parser."""
    flag, equals, value = word.partition("=")
    flag = flag.replace("_", "-")
    return f"{flag}{equals}{value}" if flag in parser._option_string_actions else word


def _split_backbone_args(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Separate ``--backbone_args.KEY VALUE`` and ``…KEY=VALUE`` from the rest; values are YAML, as in configs."""
    rest, found = [], {}
    remaining = iter(words)
    for word in remaining:
        prefix = next((p for p in PREFIXES if word.replace("backbone-args", "backbone_args").startswith(p)), None)
        if prefix is None:
            rest.append(word)
            continue
        key, equals, value = word[len(prefix) :].partition("=")
        if not equals:
            value = next(remaining, "")
        if not key or not value or value.startswith("--"):
            raise UserError(f"{word} needs a name and a value, such as --backbone_args.stem cifar")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            found[key] = value
    return rest, found


def inspect_model(
    name: str,
    image_size: int | tuple[int, int] | None = None,
    depth: int | None = None,
    out_dir: Path | str = OUT,
    backbone_args: dict[str, Any] | None = None,
    in_channels: int | None = None,
    num_classes: int | None = None,
) -> list[Path]:
    """Print the table and the gridding check of a model, save the plots, and return their paths.

    Args:
        name: as ``get_model`` takes it.
        image_size: side in pixels, or (height, width); by default the source's, or one that the model accepts.
        depth: deepest level of modules with lines of their own; ``None`` for the innermost layers.
        out_dir: folder for the plots.
        backbone_args: arguments of the model.
        in_channels, num_classes: by default the source's.

    Raises:
        UserError: see ``get_model``; or the model does not accept the image size.
    """
    from lit_cnn.inspection.gridding import dilated_stacks, gridding_summary
    from lit_cnn.inspection.layer_table import layer_table, rows_at, totals_line, undefined_fields
    from lit_cnn.inspection.layers import inspect_layers
    from lit_cnn.models import MODELS, get_model
    from lit_cnn.models._input_check import on_meta, typical_input

    info = MODELS.get(name)
    arguments = dict(backbone_args or {})
    channels = in_channels or (info.in_channels if info else 3)
    classes = num_classes or (info.num_classes if info else 1000)
    model = on_meta(lambda: get_model(name, classes, channels, **arguments))
    given = image_size or arguments.get("image_size")
    side = given or (info.image_size if info else 224) or typical_input(model, channels)
    try:
        layers = inspect_layers(model, side, channels)
    except UserError as error:
        if given or info is None:
            raise
        raise UserError(f"{name} is registered with image_size={side}, but {error}") from error
    rows, stacks = rows_at(layers, depth), dilated_stacks(layers)
    height, width = (side, side) if isinstance(side, int) else side
    show(layer_table(rows, f"{name} on {channels}x{height}x{width}"))
    say(totals_line(model, layers, depth))
    say("receptive field (field), stride and centre of the first unit in input pixels, padding included")
    for line in (*undefined_fields(layers), *(gridding_summary(stack) for stack in stacks)):
        say(line)

    from lit_cnn.inspection.plots import save_plots  # matplotlib takes a second to import

    paths = save_plots(name, rows, stacks, max(height, width), Path(expand_home(out_dir)))
    for path in paths:
        say(f"saved {path}")
    return paths
