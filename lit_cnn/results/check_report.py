"""What ``lit-cnn check`` found: plain types, a table for the terminal, and an ignore list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

TITLES = {  # of the kinds of findings, in the order shown
    "broken": "files that cannot be read",
    "odd": "odd files",
    "leak": "the same photo in two splits",
    "two labels": "one photo under two labels",
    "duplicate": "equal files in one split",
    "near duplicate": "near duplicates in one split",
    "missing class": "classes missing from a split",
    "giveaway": "something constant gives the class away",
    "label": "labels that look wrong",
}
NOTES = ("odd",)  # kinds that do not count as findings


@dataclass(frozen=True)
class Finding:
    """Something about one image, or several that belong together.

    Attributes:
        kind: A key of TITLES.
        text: What it is, in a few words.
        images: Names of the images, with their splits and classes in ``places``.
        places: One piece of text an image, such as ``train, roses``.
        drop: Names of images that an ignore list leaves out.
    """

    kind: str
    text: str
    images: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


@dataclass
class CheckReport:
    """All that was found, and what there is.

    Attributes:
        data: The data, for the headline.
        images: Number of images.
        counts: Images by class and split.
        facts: Lines about sizes, aspect ratios and channels.
        findings: In the order found.
        worth_labelling: Names of unlabelled images, the most useful first, each with its reason.
    """

    data: str
    images: int
    counts: dict[str, dict[str, int]]
    facts: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    worth_labelling: list[tuple[str, str]] = field(default_factory=list)

    def of(self, kind: str) -> list[Finding]:
        """Return the findings of a kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    @property
    def clean(self) -> bool:
        """Whether nothing was found but odd files."""
        return all(finding.kind in NOTES for finding in self.findings)


def check_table(report: CheckReport) -> Table:
    """Number of findings of every kind, with an example."""
    table = Table(
        title=f"{report.data}: {report.images:,} images",
        title_justify="left",
        title_style="bold",
        box=SIMPLE,
        show_edge=False,
    )
    table.add_column("")
    table.add_column("found", justify="right")
    table.add_column("for example", overflow="fold")
    for kind, title in TITLES.items():
        found = report.of(kind)
        if found or kind != "label":
            example = " = ".join(found[0].images[:2]) if found else ""
            text = (
                (found[0].text if kind in ("broken", "odd", "missing class", "giveaway", "label") else "")
                if found
                else ""
            )
            table.add_row(Text(title), f"{len(found):,}", Text(": ".join(part for part in (example, text) if part)))
    return table


def ignore_lines(findings: Sequence[Finding]) -> list[str]:
    """Lines of an ignore list: what to drop under its reason; labels that look wrong as comments, to be decided."""
    lines: list[str] = ["# written by lit-cnn check; delete the lines of images to keep"]
    seen: set[str] = set()
    for kind, title in TITLES.items():
        found = [finding for finding in findings if finding.kind == kind and (finding.drop or kind == "label")]
        if found:
            lines.append(f"# {title}")
        for finding in found:
            if kind == "label":
                lines += [f"# {name}  ({finding.text})" for name in finding.images]
            kept = [name for name in finding.images if name not in finding.drop]
            for name in (name for name in finding.drop if name not in seen):
                seen.add(name)
                if kept:
                    lines.append(f"#   is {kept[0]}")
                lines.append(name)
    return lines
