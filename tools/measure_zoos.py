"""Measure the models of torchvision and timm: ``python -m tools.measure_zoos`` writes ``model_figures/``.

To be run for a new torchvision or timm. Every model is built and run on shapes alone, some 15 minutes for timm. Figures
are written after each model, and an interrupted run resumes there. For a new version of a zoo, or with ``--again``, all
are measured.
"""

from __future__ import annotations

import argparse
import csv
import sys
from importlib.metadata import version
from typing import Any

from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.inspection import model_table
from lit_cnn.inspection.figures import Figures
from lit_cnn.inspection.measure import count_macs
from lit_cnn.models import _external, smallest_input
from lit_cnn.models._input_check import on_meta
from tools import figure_files, papers
from tools.pretrained import pretrained


def measure(name: str) -> Figures:
    """Count ``torchvision/NAME`` or ``timm/NAME`` on shapes alone, at the size its zoo publishes it for.

    ``macs`` and ``smallest`` are ``None`` where they cannot be measured; ``paper`` is the arXiv number.

    Raises:
        Exception: whatever the zoo raises when it builds the model.
    """
    zoo, _, short = name.partition("/")
    if zoo == "timm":
        model: Any = on_meta(lambda: _external.timm_module().create_model(short))
        config = model.pretrained_cfg
        image, classes, fixed = config["input_size"], model.num_classes, config["fixed_input_size"]
    else:
        model = on_meta(lambda: _external.build(name, num_classes=1000, in_channels=3))
        # Most are for 224 pixels, but not all; the transform that belongs to the weights knows, unless the weights
        # are for another size than the model is built for (vit_h_14).
        (side,) = _external.torchvision_models().get_model_weights(short).DEFAULT.transforms().crop_size
        side = getattr(model, "image_size", side)
        image, classes, fixed = (3, side, side), 1000, False
    return Figures(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=_macs(model, *image),
        image=image,
        classes=classes,
        smallest=_smallest(model, *image, fixed=fixed),
        paper=papers.paper(name),
        **pretrained(name),
    )


def _macs(model: nn.Module, *shape: int) -> int | None:
    try:
        return count_macs(model, *shape)
    except Exception as error:
        _complain("not counted", error)
        return None


def _smallest(model: nn.Module, channels: int, height: int, width: int, *, fixed: bool) -> int | None:
    """Side of the smallest square image: timm's own for models of one size, else by trying."""
    if fixed:
        # Smaller maps can be accepted wrongly where they are broadcast to the position embedding.
        return height if height == width else None
    try:
        return min(smallest_input(model, channels), height, width)
    except UserError:  # accepts one size, and not one that the search tries
        return height if height == width else None


def _complain(what: str, error: Exception) -> None:
    print(f"  {what}: {type(error).__name__}: {' '.join(str(error).split())[:150]}", file=sys.stderr)


def measure_zoo(zoo: str, again: bool) -> None:
    """Write the zoo's table; figures already in it are kept unless they are of another version or ``again`` is set."""
    names = _external.torchvision_names() if zoo == "torchvision" else _external.timm_names()
    number = model_table.public_version(version(zoo))
    found = {} if again else _read(zoo, number)
    for i, name in enumerate(names):
        if name in found:
            found[name] = found[name]._replace(paper=papers.paper(name), **pretrained(name))
            continue
        print(f"{i + 1}/{len(names)} {name}", file=sys.stderr, flush=True)
        try:
            found[name] = measure(name)
        except Exception as error:
            _complain("not built", error)
            found[name] = Figures(paper=papers.paper(name))
        _write(zoo, number, found)
    _write(zoo, number, {name: found[name] for name in names})


def _read(zoo: str, number: str) -> dict[str, Figures]:
    if not model_table.table_path(zoo).exists():
        return {}
    stored = model_table.read_figures(zoo)
    return stored.figures if stored.version == number else {}


def _write(zoo: str, number: str, figures: dict[str, Figures]) -> None:
    figure_files.write_table(zoo, number, figures, "tools/measure_zoos.py")


def write_titles() -> None:
    """Write the titles of all papers that the stored figures name."""
    used = {figures.paper for zoo in model_table.ZOOS for figures in model_table.read_figures(zoo).figures.values()}
    with model_table.PAPERS.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("arxiv", "title"))
        rows.writerows((number, title) for number, title in sorted(papers.titles().items()) if number in used)


def main() -> None:
    """Measure both zoos."""
    parser = argparse.ArgumentParser(prog="python -m tools.measure_zoos", description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure all, including what is stored for this version")
    arguments = parser.parse_args()
    for zoo in model_table.ZOOS:
        measure_zoo(zoo, arguments.again)
    write_titles()


if __name__ == "__main__":
    main()
