"""``lit-cnn inspect MODEL``: every layer's output, parameters, work and receptive field, and the gridding check."""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lit_cnn.errors import UserError
from lit_cnn.inspection.tables import count, giga, table
from lit_cnn.utils.console import console

if TYPE_CHECKING:
    from lit_cnn.inspection.layers import Layer, Stack
    from lit_cnn.inspection.receptive_field import Chain, Field

OUT = Path("lightning_logs") / "inspect"
SOME = 8  # numbers of rows that a line lists
PREFIXES = ("--model.backbone_args.", "--backbone_args.")


def main(argv: list[str]) -> int:
    """Run the command with the arguments that follow its name; the exit status is returned.

    Raises:
        UserError: an unknown model or argument, or an image size the model does not take.
    """
    parser = argparse.ArgumentParser(
        prog="lit-cnn inspect",
        description="Look inside a model. Layers that neither hold parameters nor change the map are left out.",
        epilog="Arguments of the model follow as in training: --backbone_args.stem cifar",
        allow_abbrev=False,
    )
    parser.add_argument("model", help="name, as lit-cnn models lists them")
    parser.add_argument("--image-size", "--img-size", type=int, help="side of the square image in pixels")
    parser.add_argument("--depth", type=int, help="group layers below this level; by default every layer has a line")
    parser.add_argument("--in-channels", type=int, help="channels of the image")
    parser.add_argument("--num-classes", type=int, help="number of logits")
    parser.add_argument("--out-dir", type=Path, default=OUT, help=f"where the pictures go ({OUT})")
    words, backbone_args = _split_backbone_args(argv)
    known = {option for action in parser._actions for option in action.option_strings}
    words = [w.replace("_", "-") if w.partition("=")[0].replace("_", "-") in known else w for w in words]
    arguments = parser.parse_args(words)
    inspect_model(
        arguments.model,
        image_size=arguments.image_size,
        depth=arguments.depth,
        out_dir=arguments.out_dir,
        backbone_args=backbone_args,
        in_channels=arguments.in_channels,
        num_classes=arguments.num_classes,
    )
    return 0


def _split_backbone_args(argv: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take ``--backbone_args.KEY VALUE`` and ``…KEY=VALUE`` out; values are YAML, as in configs."""
    rest, found = [], {}
    words = iter(argv)
    for word in words:
        prefix = next((p for p in PREFIXES if word.replace("backbone-args", "backbone_args").startswith(p)), None)
        if prefix is None:
            rest.append(word)
            continue
        key, equals, value = word[len(prefix) :].partition("=")
        if not equals:
            value = next(words, "")
        if not key or not value or value.startswith("--"):
            raise UserError(f"{word} needs a name and a value, such as --backbone_args.stem cifar")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            found[key] = value
    return rest, found


def inspect_model(
    name: str,
    image_size: int | None = None,
    depth: int | None = None,
    out_dir: Path | str = OUT,
    backbone_args: dict[str, Any] | None = None,
    in_channels: int | None = None,
    num_classes: int | None = None,
) -> list[Path]:
    """Print the table and the gridding check of a model, save the pictures, and return their paths.

    Args:
        name: as ``get_model`` takes it.
        image_size: side of the square image in pixels; by default the paper's.
        depth: deepest level of modules with lines of their own; ``None`` for the innermost layers.
        out_dir: folder for the pictures.
        backbone_args: arguments of the model.
        in_channels, num_classes: by default the paper's.

    Raises:
        UserError: see ``get_model``; or the model does not take the image size.
    """
    from lit_cnn.inspection.layers import dilated_stacks, inspect_layers, on_meta
    from lit_cnn.models import MODELS, auxiliary_heads, get_model

    sizes = {"image-size": image_size, "depth": depth, "in-channels": in_channels, "num-classes": num_classes}
    for flag, number in sizes.items():
        if number is not None and number < 1:
            raise UserError(f"--{flag} must be 1 or more, got {number}")
    row = MODELS.get(name)
    arguments = dict(backbone_args or {})
    for key in ("in_channels", "num_classes"):
        if key in arguments:
            raise UserError(f"--backbone_args.{key} is no argument of the model here: give --{key.replace('_', '-')}")
    channels = in_channels or (row.in_channels if row else 3)
    classes = num_classes or (row.num_classes if row else 1000)
    side = image_size or arguments.get("image_size") or (row.image_size if row else 224)
    model = on_meta(lambda: get_model(name, classes, channels, **arguments))
    layers = inspect_layers(model, side, channels)
    screen = console()
    out = table(
        f"{name} on {channels}x{side}x{side}",
        "layer", "kind", "output", "parameters", "MACs", "receptive field", "stride", "centre",
        numbers=("parameters", "MACs", "receptive field", "stride", "centre"),
    )  # fmt: skip
    shown = _rows(layers, depth)
    for layer in shown:
        output = "x".join(str(n) for n in layer.output)
        macs = giga(layer.macs) if layer.macs else "0"
        out.add_row(layer.name, layer.kind, output, count(layer.parameters), macs, *_field(layer))
    screen.print(out)
    whole = layers[0]
    hidden = len(_leaves(layers, depth)) - len(shown)
    heads = sum(p.numel() for head in auxiliary_heads(model) for p in model.get_submodule(head).parameters())
    parts = f" ({count(whole.parameters - heads)} in eval; +{count(heads)} in auxiliary heads, training only)"
    screen.print(
        f"{count(whole.parameters)} parameters{parts if heads else ''}, {giga(whole.macs)} multiply-accumulates an "
        f"image; layers without parameters that keep the map, not shown: {hidden}"
    )
    screen.print("receptive field, stride and centre of the first unit in input pixels, padding included", style="dim")
    for reason, layer in {layer.lost: layer for layer in reversed(layers) if layer.lost}.items():
        screen.print(f"no receptive field from {layer.name or 'the output'} on: {reason}", soft_wrap=True, markup=False)

    stacks = dilated_stacks(layers)
    for stack in stacks:
        screen.print(_verdict(stack), soft_wrap=True, markup=False)
    return _pictures(name, shown, stacks, side, Path(out_dir), screen)


def _leaves(layers: list[Layer], depth: int | None) -> list[Layer]:
    """Innermost layers, or those at ``depth`` where they go deeper."""
    if depth is None:
        return [layer for layer in layers if layer.leaf]
    return [layer for layer in layers if layer.depth == depth or (layer.leaf and layer.depth < depth)]


def _rows(layers: list[Layer], depth: int | None) -> list[Layer]:
    """Leave out what only changes values: activations, dropout."""
    shown: list[Layer] = []
    for layer in _leaves(layers, depth):
        last = shown[-1] if shown else None
        same = last and (math.prod(layer.output), layer.field) == (math.prod(last.output), last.field)
        if layer.parameters or layer.macs or not same:
            shown.append(layer)
    return shown


def _field(layer: Layer) -> tuple[str, str, str]:
    if layer.whole:
        return "whole image", "-", "-"
    if layer.field is None:
        return "-", "-", "-"
    field: Field = layer.field
    return _sides(field.size), _sides(field.stride), _sides(field.centre)


def _sides(pair: tuple[float, float]) -> str:
    return f"{pair[0]:g}" if pair[0] == pair[1] else f"{pair[0]:g}x{pair[1]:g}"


def _verdict(stack: Stack) -> str:
    """One line: the rule along each axis, and which places of which map no unit sees."""
    rows, columns = (_rule(chain, m2) for chain, m2 in zip(stack.chains, stack.m2, strict=True))
    rule = rows if rows == columns else f"rows: {rows}; columns: {columns}"
    height, width = stack.window
    pixels = stack.stride == (1, 1)
    where = "pixels" if pixels else f"places of the map in front of {stack.first}, {_sides(stack.stride)} pixels apart,"
    line = f"gridding check up to {stack.layer}, {rule}; "
    line += f"of the {height}x{width} {where} {stack.holes} are never touched"
    if stack.holes:
        across, along = (_listed(missed) for missed in stack.missed)
        line += " (gridding): "
        if across == along:
            line += f"those in rows or columns {across} of 0 to {height - 1}"
        else:
            both = ((f"rows {across} of 0 to {height - 1}", across), (f"columns {along} of 0 to {width - 1}", along))
            line += "those in " + " or ".join(text for text, missed in both if missed)
    if not pixels or stack.image_holes != stack.holes:  # shortcuts past the stack may fill holes
        line += f"; of the image's pixels in its receptive field {stack.image_holes} are never touched"
    return line


def _rule(chain: Chain, m2: int | None) -> str:
    dilations = [link.dilation for link in chain]
    if max(dilations, default=1) == 1:
        return "no dilation"
    line = f"dilations {'-'.join(str(d) for d in dilations)}"
    if m2 is None:
        return f"{line}: nothing in front fills the gaps"
    # The first layer has to fill the gaps that the others leave.
    kernel = chain[0].kernel
    line += f": M2 = {m2} {'<=' if m2 <= kernel else '>'} {kernel}"
    divisor = math.gcd(*dilations)
    return f"{line}, common divisor {divisor}" if divisor > 1 else line


def _listed(numbers: tuple[int, ...]) -> str:
    """``1, 3, ..., 11`` for equal steps, else the first few of them."""
    if len(numbers) > 3 and len({b - a for a, b in itertools.pairwise(numbers)}) == 1:
        return f"{numbers[0]}, {numbers[1]}, ..., {numbers[-1]}"
    some = ", ".join(str(n) for n in numbers[:SOME])
    return f"{some}, ..." if len(numbers) > SOME else some


def _pictures(name: str, layers: list[Layer], stacks: list[Stack], side: int, out_dir: Path, screen: Any) -> list[Path]:
    from lit_cnn.inspection import pictures  # matplotlib takes a second to import

    stem = name.replace("/", "_")
    paths = []
    path = out_dir / f"{stem}_receptive_field.png"
    try:
        if pictures.growth(layers, side, f"{name}, {side} pixels", path):
            paths.append(path)
        if stacks:
            path = out_dir / f"{stem}_gridding.png"
            pictures.gridding(stacks, name, path)
            paths.append(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}. Give another folder with --out-dir") from None
    for path in paths:
        screen.print(f"saved {path}", soft_wrap=True)
    return paths
