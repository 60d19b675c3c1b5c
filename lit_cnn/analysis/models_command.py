"""``lit-cnn models [PATTERN]``: the models by name, with their size, work, smallest input, paper and year."""

from __future__ import annotations

import argparse
import fnmatch
import time

from lit_cnn.analysis.figures import Figures
from lit_cnn.analysis.measured import MEASURED
from lit_cnn.analysis.tables import count, giga, table
from lit_cnn.errors import UserError, nearest
from lit_cnn.terminal import console

_START = time.monotonic()
PLAIN = 200  # rows; a longer table would take rich longer than all else together
SECONDS = 2.3  # after this no more of timm's models are counted


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
    """Print a table of the models that ``list_models(pattern)`` names.

    Raises:
        UserError: there is none, or timm is asked for and not installed.
    """
    names = _names(pattern)
    if not names:
        raise UserError(f"no model matches {pattern!r}{nearest(pattern, MEASURED) or '.'} `lit-cnn models` lists all")
    if len(names) > PLAIN:
        print("\n".join(names))
        print(f"{len(names)} models: only their names, since they are so many; narrow the pattern for figures")
        return
    figures = _figures(names)
    last = ("reference", "from") if reference else ("year", "paper")
    columns = ("name", "parameters", "MACs", "at", "classes", "smallest", *last)
    out = table(None, *columns, numbers=("parameters", "MACs", "at", "classes", "smallest", "reference"))
    for name, f in figures.items():
        at = "-" if f.image is None else "x".join(str(n) for n in f.image)
        ending = (count(f.reference), f.source or "-") if reference else (str(f.year or "-"), f.paper or "-")
        out.add_row(name, count(f.parameters), giga(f.macs), at, count(f.classes), count(f.smallest), *ending)
    screen = console()
    screen.print(out)
    screen.print(f"{len(figures)} models. MACs: multiply-accumulates for one image of the size under 'at'", style="dim")
    if any(f.parameters is None for f in figures.values()):
        screen.print("- was not counted for lack of time: narrow the pattern, or see lit-cnn inspect NAME", style="dim")


def _names(pattern: str) -> list[str]:
    if "/" in pattern:
        from lit_cnn.models import list_models

        return list_models(pattern)
    # As list_models does it; but the figures are stored, so that this needs no torch.
    if pattern in MEASURED:
        return [pattern]
    word = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [name for name in MEASURED if fnmatch.fnmatch(name, word)]


def _figures(names: list[str]) -> dict[str, Figures]:
    zoo, slash, _ = names[0].partition("/")
    if not slash:
        return {name: MEASURED[name] for name in names}
    from lit_cnn.analysis.zoos import timm_figures, torchvision_figures

    if zoo == "timm":
        return timm_figures(names, SECONDS - (time.monotonic() - _START))
    return {name: torchvision_figures(name) for name in names}
