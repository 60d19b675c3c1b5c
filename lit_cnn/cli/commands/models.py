"""``lit-cnn models [PATTERN]``: the models by name, with their size, work, smallest input, paper and year.

All of it is stored, for the other zoos as well: neither they nor torch are imported.
"""

from __future__ import annotations

import argparse
import fnmatch

from lit_cnn.errors import UserError, nearest
from lit_cnn.inspection import model_table
from lit_cnn.inspection.figures import Figures
from lit_cnn.inspection.measured import MEASURED
from lit_cnn.inspection.tables import aligned, count, giga, table
from lit_cnn.utils.console import console

LONG = 200  # rows; rich would take longer for such a table than all else together
NUMBERS = ("parameters", "MACs", "at", "classes", "smallest", "reference")


def main(argv: list[str]) -> int:
    """Run the command with the arguments that follow its name; the exit status is returned.

    Raises:
        UserError: no model has such a name.
    """
    parser = argparse.ArgumentParser(
        prog="lit-cnn models",
        description="List the models that --model.backbone takes.",
        epilog="torchvision/PATTERN and timm/PATTERN list those of torchvision and timm.",
    )
    parser.add_argument(
        "pattern", nargs="?", default="*", help="shell pattern or part of a name, e.g. 'vgg*_bn' or resnet"
    )
    parser.add_argument("--reference", action="store_true", help="show the published numbers of parameters beside ours")
    arguments = parser.parse_args(argv)
    print_models(arguments.pattern, reference=arguments.reference)
    return 0


def print_models(pattern: str = "*", reference: bool = False) -> None:
    """Print a table of the models that match a pattern, as ``lit_cnn.models.list_models`` finds them.

    Raises:
        UserError: there is none.
    """
    zoo = pattern.partition("/")[0] if pattern.startswith(tuple(f"{zoo}/" for zoo in model_table.ZOOS)) else None
    figures, notes = _of_zoo(zoo, pattern) if zoo else (_matching(MEASURED, pattern), [])
    if not figures:
        known = model_table.stored(zoo).figures if zoo else MEASURED
        every = f"`lit-cnn models '{zoo}/*'` lists all"
        if not zoo:
            zoo_lists = " and ".join(f"`lit-cnn models '{other}/*'`" for other in model_table.ZOOS)
            every = f"`lit-cnn models` lists all of this package, {zoo_lists} those of the other zoos"
        raise UserError(f"no model matches {pattern!r}{nearest(pattern, known) or '.'} {every}")
    columns = ("name", *NUMBERS[:5], *(("reference", "from") if reference else ("year", "paper")))
    rows = [(name, *_cells(f, reference)) for name, f in figures.items()]
    screen = console()
    if len(rows) > LONG:
        print("\n".join(aligned(columns, rows, NUMBERS)))
    else:
        out = table(None, *columns, numbers=NUMBERS)
        for row in rows:
            out.add_row(*row)
        screen.print(out)
    number = f"{len(figures)} model{'s' if len(figures) > 1 else ''}"
    screen.print(f"{number}. MACs: multiply-accumulates for one image of the size under 'at'", style="dim")
    for note in notes:
        screen.print(note, soft_wrap=True, markup=False)  # 'lit-cnn[timm]' is no style


def _cells(f: Figures, reference: bool) -> tuple[str, ...]:
    at = "-" if f.image is None else "x".join(str(n) for n in f.image)
    ending = (count(f.reference), f.source or "-") if reference else (str(f.year or "-"), f.paper or "-")
    return count(f.parameters), giga(f.macs), at, count(f.classes), count(f.smallest), *ending


def _matching(figures: dict[str, Figures], pattern: str, prefix: str = "") -> dict[str, Figures]:
    """Models by a pattern as ``list_models`` takes it; that one imports torch."""
    if pattern in figures:
        return {pattern: figures[pattern]}
    word = pattern if any(c in pattern for c in "*?[") else f"{prefix}*{pattern[len(prefix) :]}*"
    return {name: f for name, f in figures.items() if fnmatch.fnmatch(name, word)}


def _of_zoo(zoo: str, pattern: str) -> tuple[dict[str, Figures], list[str]]:
    """Models of another zoo, and what to know about them: versions, gaps."""
    stored, installed = model_table.stored(zoo), model_table.installed(zoo)
    name, dot, tag = pattern.partition(".")
    tagged = bool(dot) and zoo == "timm" and name in stored.figures
    figures = _matching(stored.figures, name if tagged else pattern, f"{zoo}/")
    if installed not in (None, stored.version) and not figures:
        # Maybe new in the version installed; then only its own list can tell, and that takes seconds to import.
        from lit_cnn.models import list_models

        figures = {name: Figures() for name in list_models(pattern)}
    titles = model_table.titles()
    figures = {name: f._replace(paper=_paper(f.paper, titles)) for name, f in figures.items()}
    notes = []
    if tagged:
        notes.append(f"{tag!r} names pretrained weights; the figures are those of the network, {name}")
    if installed is None:
        notes.append(f"{zoo} is not installed, so none of these can be built: pip install 'lit-cnn[{zoo}]'")
    elif installed != stored.version:
        notes.append(
            f"names and figures are those of {zoo} {stored.version}, installed is {installed}: "
            "a model may be missing here or there, or have changed; lit-cnn inspect NAME counts yours"
        )
    if any(None in (f.parameters, f.macs, f.smallest) for f in figures.values()):
        notes.append("-: not known; lit-cnn inspect NAME may count it")
    return figures, notes


def _paper(number: str, titles: dict[str, str]) -> str:
    if not number:
        return ""
    return f"{titles[number]}, arXiv:{number}" if number in titles else f"arXiv:{number}"
