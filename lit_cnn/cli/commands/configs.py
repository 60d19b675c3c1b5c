"""``lit-cnn configs [NAME]``: list the shipped configs with their measured results, or print one."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path

from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.shipped_configs import shipped_configs
from lit_cnn.errors import UserError, nearest
from lit_cnn.utils.console import width_of


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``.

    Raises:
        UserError: no shipped config has that name.
    """
    parser = CommandParser(
        prog="lit-cnn configs",
        description="List the experiments that come with lit-cnn, or print one of them.",
        epilog="examples:\n  lit-cnn configs\n  lit-cnn configs lenet_digits > my.yaml\n"
        "  lit-cnn fit --config lenet_digits\n  lit-cnn fit --config my.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help="config to print, as listed")
    name = parser.parse_args(words[1:]).name
    shipped = shipped_configs()
    if name is None:
        width = min(78, width_of(sys.stdout))
        for stem, path in shipped.items():
            description, result = header(path)
            print(stem)
            for line in (description, result):
                print(textwrap.fill(line, width, initial_indent="    ", subsequent_indent="    "))
        return
    stem = name.removesuffix(".yaml")
    if stem not in shipped:
        raise UserError(f"no shipped config {name!r}{nearest(stem, shipped) or ';'} there are: {', '.join(shipped)}")
    print(shipped[stem].read_text(encoding="utf-8"), end="")


def header(path: Path) -> tuple[str, str]:
    """What a config trains, and its measured result: the comment at its top.

    The description ends at a line that begins with ``Result:``, and the result at one that begins with ``Command:``.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line.lstrip("# ").rstrip() for line in lines if line.startswith("#")]
    text = " ".join(comment)
    found = re.match(r"(.*?)\s*(Result: .*?)\s*(Command: .*)?$", text)
    return (found[1], found[2]) if found else (text, "Result: not measured")
