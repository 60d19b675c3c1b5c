"""Tables and pictures of docs/lab: ``python -m benchmarks.lab PAGE`` in the folder of the runs.

PAGE names a page of docs/lab; its sweep (``benchmarks/lab/PAGE.yaml``) must have been run there. The table is printed
in Markdown, and the picture is written to ``--images``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lab.pages import PAGES, Given


def main(args: Sequence[str] | None = None) -> None:
    """Print the table of a page and draw its picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", choices=sorted(PAGES))
    parser.add_argument("--project", type=Path, default=Path(), metavar="DIR", help="folder of the runs")
    parser.add_argument("--images", type=Path, default=Path(), metavar="DIR", help="where the picture is written")
    parser.add_argument("--data", type=Path, metavar="DIR", help="training images, of the page on GoogLeNet")
    given = parser.parse_args(args)
    if given.page == "googlenet" and given.data is None:
        parser.error("googlenet measures gradients: name its training images with --data")
    for folder in (given.images, *([given.data] if given.data else [])):
        if not folder.is_dir():
            parser.error(f"there is no folder {folder}")
    path = given.images / f"{given.page}.png"
    print("\n".join(PAGES[given.page](Given(given.project, path, given.data))))
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
