"""``lit-cnn models [PATTERN]``: list the models with their size, MACs, smallest input, paper and year.

The figures are stored, those of the other zoos included, so that listing imports neither the zoos nor torch; only those
of models that a user registered are measured.
"""

from __future__ import annotations

import argparse
import fnmatch

from lit_cnn import plugins
from lit_cnn.cli.argv import import_names
from lit_cnn.errors import UserError, nearest
from lit_cnn.inspection import model_table
from lit_cnn.inspection.figures import Figures
from lit_cnn.inspection.tables import format_int, format_si, plain_lines, table
from lit_cnn.utils.console import console

LONG = 200  # rows; rich takes longer to lay out such a table than everything else together
NUMBERS = ("parameters", "MACs", "at", "classes", "smallest", "reference")
EXAMPLES = """\
examples:
  lit-cnn models                        all models of this package
  lit-cnn models 'vgg*_bn'              those that match a shell pattern
  lit-cnn models resnet --reference     those with resnet in their names, with
                                        the published parameter counts
  lit-cnn models 'timm/*'               those of timm, or of 'torchvision/*'
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
    parser = argparse.ArgumentParser(
        prog="lit-cnn models",
        description="List the models that --model.backbone takes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern or part of a name")
    parser.add_argument("--reference", action="store_true", help="show the published parameter counts beside ours")
    parser.add_argument(
        "--allow_import", "--allow-import", action="append", default=[], metavar="PKG",
        help="package, or module of this folder, that registers models of your own",
    )  # fmt: skip
    arguments = parser.parse_args(words[1:])
    own = bool(arguments.allow_import or plugins.announced())
    if own:
        plugins.import_plugins([name for names in arguments.allow_import for name in import_names(names)])
    print_models(arguments.pattern, reference=arguments.reference, registered=own)


def print_models(pattern: str = "*", reference: bool = False, registered: bool = False) -> None:
    """Print a table of the models that match a pattern, as ``lit_cnn.models.list_models`` matches them.

    Args:
        pattern: shell pattern or part of a name.
        reference: show published parameter counts instead of papers.
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
    columns = ("name", *NUMBERS[:5], *(("reference", "from") if reference else ("year", "paper")))
    rows = [(name, *_cells(f, reference)) for name, f in figures.items()]
    screen = console()
    if len(rows) > LONG:
        print("\n".join(plain_lines(columns, rows, NUMBERS)))
    else:
        out = table(None, *columns, numbers=NUMBERS)
        for row in rows:
            out.add_row(*row)
        screen.print(out)
    number = f"{len(figures)} model{'s' if len(figures) > 1 else ''}"
    screen.print(f"{number}. MACs: multiply-accumulates for one image of the size under 'at'", style="dim")
    if any(None in (f.parameters, f.macs, f.smallest) for f in figures.values()):
        notes.append("-: not known; lit-cnn inspect NAME may count it")
    for note in notes:
        screen.print(note, soft_wrap=True, markup=False)  # brackets, as in 'lit-cnn[timm]', are no markup


def _cells(f: Figures, reference: bool) -> tuple[str, ...]:
    at = "-" if f.image is None else "x".join(str(n) for n in f.image)
    ending = (format_int(f.reference), f.source or "-") if reference else (str(f.year or "-"), f.paper or "-")
    sizes = (format_int(f.parameters), format_si(f.macs), at, format_int(f.classes), format_int(f.smallest))
    return *sizes, *ending


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
