"""The page of ``lit-cnn check``: one HTML file with the pictures in it, which needs no network."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from lit_cnn.results.check_report import TITLES, CheckReport, Finding
from lit_cnn.utils.files import atomic_write

SHOWN = 60  # findings of a kind with their pictures
_PICTURES = 4  # of a finding
_CLASSES = 100


def write_check_page(path: Path, report: CheckReport, picture: Callable[[str], str]) -> None:
    """Write the page.

    Args:
        path: The file.
        report: What was found.
        picture: Returns an image by its name as the address of a small picture, ``data:image/jpeg;base64,...``, or "".

    Raises:
        OSError: It cannot be written.
    """

    def shown(finding: Finding) -> dict[str, Any]:
        places = finding.places or ("",) * len(finding.images)
        pairs = list(zip(finding.images, places, strict=True))[:_PICTURES]
        return {"text": finding.text, "pictures": [(name, place, picture(name)) for name, place in pairs]}

    sections = []
    for kind, title in TITLES.items():
        found = report.of(kind)
        if found or kind != "label":
            sections.append((title, [shown(finding) for finding in found[:SHOWN]], max(0, len(found) - SHOWN)))
    if report.worth_labelling:
        useful = [Finding("", reason, (name,), ("",)) for name, reason in report.worth_labelling]
        sections.append(("most worth labelling", [shown(finding) for finding in useful[:SHOWN]], 0))
    splits = list(next(iter(report.counts.values()), {}))
    source = resources.files("lit_cnn.results").joinpath("templates/check.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    counts = list(report.counts.items())[:_CLASSES]
    with atomic_write(path) as file:
        file.write(template.render(report=report, splits=splits, counts=counts, sections=sections))
