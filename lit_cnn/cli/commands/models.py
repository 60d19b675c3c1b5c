"""``lit-cnn models [PATTERN]``: list the models with their size, MACs, smallest input, weights and year.

The figures are stored, those of the other zoos included, so that listing imports neither the zoos nor torch; only those
of models that a user registered are measured. ``--for`` suggests three for a folder of images or a data set.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from lit_cnn import plugins
from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.flag_values import import_names
from lit_cnn.errors import UserError, nearest
from lit_cnn.inspection import model_table
from lit_cnn.inspection.figures import Figures
from lit_cnn.inspection.tables import format_int, format_si, plain_lines

NUMBERS = ("params", "MACs", "at", "smallest", "top-1", "parameters", "published")
EXAMPLES = """\
examples:
  lit-cnn models                        all models of this package
  lit-cnn models 'vgg*_bn'              those that match a shell pattern
  lit-cnn models 'timm/*'               those of timm, or of 'torchvision/*'
  lit-cnn models resnet --papers        their papers
  lit-cnn models resnet --reference     the exact and the published parameter
                                        counts
  lit-cnn models --for photos           three that suit the images in a folder,
                                        with the commands to train them
  lit-cnn models --allow_import mypkg   and those that your package registers
"""


def main(words: list[str], debug: bool = False) -> None:
    """Run the command.

    Args:
        words: of the command line, from the command's name on.
        debug: not used.

    Raises:
        UserError: no model has such a name.
    """
    parser = CommandParser(
        prog="lit-cnn models",
        description="List the models that --model.backbone takes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern or part of a name")
    parser.add_argument("--for", dest="images", metavar="DIR|DATA", help="suggest models for images")
    parser.add_argument("--papers", action="store_true", help="show the papers instead of the figures")
    parser.add_argument("--reference", action="store_true", help="show the published parameter counts beside ours")
    parser.add_argument(
        "--allow_import", "--allow-import", action="append", default=[], metavar="PKG",
        help="package, or module of this folder, that registers models of your own",
    )  # fmt: skip
    arguments = parser.parse_args(words[1:])
    if arguments.images is not None:
        if arguments.pattern != "*":
            raise UserError(f"--for suggests models itself: leave {arguments.pattern!r} out")
        from lit_cnn.cli.model_advice import print_advice

        return print_advice(arguments.images)
    own = bool(arguments.allow_import or plugins.announced())
    if own:
        plugins.import_plugins([name for names in arguments.allow_import for name in import_names(names)])
    print_models(arguments.pattern, reference=arguments.reference, papers=arguments.papers, registered=own)
    return None


def print_models(pattern: str = "*", reference: bool = False, papers: bool = False, registered: bool = False) -> None:
    """Print a table of the models that match a pattern, as ``lit_cnn.models.list_models`` matches them.

    Args:
        pattern: shell pattern or part of a name.
        reference: show exact and published parameter counts.
        papers: show year and paper.
        registered: include the models that a user has registered, which imports torch.

    Raises:
        UserError: there is none.
    """
    zoo = pattern.partition("/")[0] if pattern.startswith(tuple(f"{zoo}/" for zoo in model_table.ZOOS)) else None
    figures, notes = _of_zoo(zoo, pattern) if zoo else _own(pattern, registered)
    if not figures:
        known = model_table.read_figures(zoo or model_table.OWN).figures
        every = f"lit-cnn models '{zoo}/*' lists all"
        if not zoo:
            zoo_lists = " and ".join(f"lit-cnn models '{other}/*'" for other in model_table.ZOOS)
            every = f"lit-cnn models lists all of this package, {zoo_lists} those of the other zoos"
        raise UserError(f"no model matches {pattern!r}{nearest(pattern, known) or ';'} {every}")
    width = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80
    number = f"{len(figures)} model{'s' if len(figures) > 1 else ''}."
    if papers:
        lines = _paper_lines(figures, width)
    elif reference:
        columns = ("name", "parameters", "published", "from")
        rows = [(n, format_int(f.parameters), format_int(f.reference), f.source or "-") for n, f in figures.items()]
        lines = _fitted(columns, rows, width)
    else:
        columns = ("name", "params", "MACs", "at", *(("weights",) if zoo == "timm" else ("smallest", "top-1", "year")))
        lines = _fitted(columns, [(n, *_cells(f, timm=zoo == "timm")) for n, f in figures.items()], width)
        number += " MACs: multiply-accumulates for one image with a side of 'at' pixels."
        notes = [_about_weights(zoo), *notes]
        if any(None in (f.parameters, f.macs, f.image) for f in figures.values()):
            notes.append("Dashes elsewhere: not known; lit-cnn inspect NAME may count it.")
    print("\n".join(lines))
    for note in (number, *notes):
        print(textwrap.fill(note, width, break_long_words=False, break_on_hyphens=False))


def _about_weights(zoo: str | None) -> str:
    if zoo == "timm":
        return (
            "weights: timm's default pretrained ones, -: none. --model.weights imagenet loads them from "
            "huggingface.co/timm/NAME.WEIGHTS, --model.weights hf:timm/NAME.WEIGHTS others."
        )
    text = "top-1: ImageNet accuracy in % of the weights that --model.weights imagenet loads, -: there are none."
    return text if zoo else f"{text} lit-cnn configs has the results of small networks trained here."


def _cells(f: Figures, timm: bool) -> tuple[str, ...]:
    side = "-"
    if f.image is not None:
        channels, height, width = f.image
        side = (str(width) if height == width else f"{height}x{width}") + (" grey" if channels == 1 else "")
    sizes = (format_si(f.parameters), format_si(f.macs), side)
    if timm:
        return (*sizes, f.weights or "-")
    return (*sizes, format_int(f.smallest), f"{f.top1:.2f}" if f.top1 else "-", str(f.year or "-"))


def _fitted(columns: Sequence[str], rows: Sequence[tuple[str, ...]], width: int) -> Iterator[str]:
    """Lines of a table of at most ``width`` columns: the last cells are cut, the longest names have their own lines."""
    least = min(max(map(len, (row[-1] for row in rows))), 22)  # letters of the last column
    inner = sum(max(map(len, cells)) + 2 for cells in zip(columns[1:-1], *(row[1:-1] for row in rows), strict=True))
    room = max(width - inner - 2 - least, len("name"))
    long = [len(row[0]) > room for row in rows]
    names = max([len("name"), *(len(row[0]) for row, own_line in zip(rows, long, strict=True) if not own_line)])
    last = max(width - inner - 2 - names, least)
    cut = [
        ("" if own_line else row[0], *row[1:-1], row[-1] if len(row[-1]) <= last else row[-1][: last - 2] + "..")
        for row, own_line in zip(rows, long, strict=True)
    ]
    heading, *lines = plain_lines(columns, cut, NUMBERS)
    yield heading
    for row, line, own_line in zip(rows, lines, long, strict=True):
        if own_line:
            yield row[0]
        yield line


def _paper_lines(figures: dict[str, Figures], width: int) -> Iterator[str]:
    for name, f in figures.items():
        yield name
        text = ", ".join(filter(None, (str(f.year or ""), f.paper))) or "no paper known"
        yield textwrap.fill(text, width, initial_indent="    ", subsequent_indent="    ")


def _matching(figures: dict[str, Figures], pattern: str, prefix: str = "") -> dict[str, Figures]:
    """Models by a pattern as ``list_models`` takes it, without the torch that its module imports."""
    if pattern in figures:
        return {pattern: figures[pattern]}
    word = pattern if any(c in pattern for c in "*?[") else f"{prefix}*{pattern[len(prefix) :]}*"
    return {name: f for name, f in figures.items() if fnmatch.fnmatch(name, word)}


def _own(pattern: str, registered: bool) -> tuple[dict[str, Figures], list[str]]:
    """Models of this package, and those that a user registered; these are measured now."""
    stored = model_table.read_figures(model_table.OWN).figures
    if not registered:
        return _matching(stored, pattern), []
    from lit_cnn.inspection.measure import measure_or_blank
    from lit_cnn.models import MODELS

    found = _matching(stored | {name: Figures() for name in MODELS if name not in stored}, pattern)
    return {name: f if name in stored else measure_or_blank(name) for name, f in found.items()}, []


def _of_zoo(zoo: str, pattern: str) -> tuple[dict[str, Figures], list[str]]:
    """Models of another zoo, with notes: versions, gaps."""
    stored, installed = model_table.read_figures(zoo), model_table.installed_version(zoo)
    name, dot, tag = pattern.partition(".")
    tagged = bool(dot) and zoo == "timm" and name in stored.figures
    figures = _matching(stored.figures, name if tagged else pattern, f"{zoo}/")
    if installed not in (None, stored.version) and not figures:
        # It may be new in the installed version, which only the zoo's own list has; it takes seconds to import.
        from lit_cnn.models import list_models

        figures = {name: Figures() for name in list_models(pattern)}
    titles = model_table.paper_titles()
    figures = {name: f._replace(paper=_paper(f.paper, titles)) for name, f in figures.items()}
    notes = []
    if tagged:
        notes.append(f"{tag!r} names pretrained weights; the figures are those of the network, {name}")
    if installed is None:
        notes.append(f"{zoo} is not installed, so none of these can be built: pip install 'lit-cnn[{zoo}]'")
    elif installed != stored.version:
        notes.append(
            f"names and figures are those of {zoo} {stored.version}, installed is {installed}: "
            "a model may be missing in either, or have changed; lit-cnn inspect NAME counts yours"
        )
    return figures, notes


def _paper(number: str, titles: dict[str, str]) -> str:
    if not number:
        return ""
    return f"{titles[number]}, arXiv:{number}" if number in titles else f"arXiv:{number}"
