"""Findings of a check: duplicates, leaks, two labels, missing classes, odd files and giveaways."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lit_cnn.data.quality.duplicates import near_duplicates
from lit_cnn.data.quality.scan import Scanned
from lit_cnn.results.check_report import CheckReport, Finding

_IMBALANCE = 10  # times as many images in one class as in another
_NEAR_GREY = 6  # grey values in which a pixel counts as constant
_CONSTANT = 0.9  # share of a class's images in which it is
_ELSEWHERE = 0.3  # share of the others that may have the same
_LEAST_PIXELS = 4  # of 32 x 32
_LEAST_IMAGES = 8  # of a class
_ORDER = ("test", "val", "train")  # which copy is kept


@dataclass(frozen=True)
class Item:
    """An image that is checked: its name, split and class."""

    name: str
    split: str
    label: str

    @property
    def place(self) -> str:
        """Return for example ``train, roses``."""
        return f"{self.split}, {self.label}"


def check_items(data: str, items: Sequence[Item], scanned: Sequence[Scanned], classes: Sequence[str]) -> CheckReport:
    """Compare all images.

    Args:
        data: For the headline.
        items: The images.
        scanned: What the scan says of each.
        classes: All class names.
    """
    counts = _counts(items, classes)
    report = CheckReport(data, len(items), counts, _facts(scanned, counts))
    for item, row in zip(items, scanned, strict=True):
        for kind, text, drop in (("broken", row.broken, (item.name,)), ("odd", row.odd, ())):
            if text:
                report.findings.append(Finding(kind, text, (item.name,), (item.place,), drop))
    report.findings += _missing(counts)
    good = [i for i, row in enumerate(scanned) if not row.broken]
    report.findings += _duplicates(items, scanned, good)
    report.findings += _giveaways(items, scanned, good)
    return report


def _counts(items: Sequence[Item], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    splits = [split for split in ("train", "val", "test") if any(item.split == split for item in items)]
    found = Counter((item.label, item.split) for item in items)
    return {label: {split: found[label, split] for split in splits} for label in classes}


def _facts(scanned: Sequence[Scanned], counts: dict[str, dict[str, int]]) -> list[str]:
    good = [row for row in scanned if not row.broken]
    if not good:
        return []
    widths, heights = (np.array([getattr(row, name) for row in good]) for name in ("width", "height"))
    ratio = np.maximum(widths, heights) / np.maximum(np.minimum(widths, heights), 1)
    facts = [
        f"sizes: {int(widths.min())} x {int(heights.min())} to {int(widths.max())} x {int(heights.max())} pixels, "
        f"median {int(np.median(widths))} x {int(np.median(heights))}; longer by shorter side: "
        f"median {np.median(ratio):.2f}, at most {ratio.max():.2f}",
        "channels: " + ", ".join(f"{count:,} {mode}" for mode, count in Counter(r.mode for r in good).most_common()),
    ]
    totals = {label: sum(row.values()) for label, row in counts.items() if sum(row.values())}
    if totals and max(totals.values()) > _IMBALANCE * min(totals.values()):
        least, most = min(totals, key=totals.__getitem__), max(totals, key=totals.__getitem__)
        facts.append(f"imbalance: {totals[most]:,} images of {most}, {totals[least]:,} of {least}")
    return facts


def _missing(counts: dict[str, dict[str, int]]) -> Iterator[Finding]:
    for label, row in counts.items():
        for split, count in row.items():
            if count == 0:
                yield Finding("missing class", f"no images of {label} in {split}")


def _duplicates(items: Sequence[Item], scanned: Sequence[Scanned], good: Sequence[int]) -> Iterator[Finding]:
    """Yield one finding for each photo that is there more than once."""
    by_content: dict[str, list[int]] = defaultdict(list)
    for i in good:
        by_content[scanned[i].content].append(i)
    firsts = [members[0] for members in by_content.values()]
    equal = {members[0]: members for members in by_content.values()}
    thumbs = np.array([scanned[i].thumb for i in firsts], np.uint8)
    pairs, sure = near_duplicates(thumbs, np.array([min(scanned[i].width, scanned[i].height) for i in firsts]))
    for members in by_content.values():
        if len(members) > 1:
            yield _finding(items, members, "equal files", "duplicate")
    for (a, b), score in sorted(zip(pairs.tolist(), sure.tolist(), strict=True), key=lambda pair: -pair[1]):
        members = [equal[firsts[a]][0], equal[firsts[b]][0]]
        yield _finding(items, members, f"alike, {score:.2f}", "near duplicate")


def _finding(items: Sequence[Item], members: Sequence[int], text: str, kind: str) -> Finding:
    ordered = sorted(members, key=lambda i: _ORDER.index(items[i].split))
    group = [items[i] for i in ordered]
    splits, labels = {item.split for item in group}, {item.label for item in group}
    drop = tuple(item.name for item in group[1:])
    if len(labels) > 1:
        kind, drop = "two labels", tuple(item.name for item in group)
    elif len(splits) > 1:
        kind = "leak"
    return Finding(kind, text, tuple(item.name for item in group), tuple(item.place for item in group), drop)


def _giveaways(items: Sequence[Item], scanned: Sequence[Scanned], good: Sequence[int]) -> Iterator[Finding]:
    """Yield classes whose images share a constant border, stamp or background that the others do not have."""
    if not good:
        return
    thumbs = np.stack([scanned[i].thumb for i in good]).astype(np.int16)
    labels = np.array([items[i].label for i in good])
    for label in sorted(set(labels.tolist())):
        own, others = thumbs[labels == label], thumbs[labels != label]
        if len(own) < _LEAST_IMAGES or not len(others):
            continue
        middle = np.median(own, axis=0).astype(np.int16)
        inside = (np.abs(own - middle) <= _NEAR_GREY).mean(axis=0)
        outside = np.zeros_like(inside)
        for part in np.array_split(others, max(1, len(others) // 4096)):
            outside += (np.abs(part - middle) <= _NEAR_GREY).sum(axis=0)
        tells = (inside >= _CONSTANT) & (outside / len(others) <= _ELSEWHERE)
        if tells.sum() >= _LEAST_PIXELS:
            rows, columns = np.nonzero(tells)
            where = f"{_where(rows, 'top', 'bottom')} {_where(columns, 'left', 'right')}".strip() or "all around"
            text = (
                f"{label}: {int(tells.sum())} of 1,024 parts of the picture are the same in almost all images ({where})"
            )
            chosen = [items[good[i]] for i in np.flatnonzero(labels == label)[:4]]
            yield Finding("giveaway", text, tuple(i.name for i in chosen), tuple(i.place for i in chosen))


def _where(positions: np.ndarray, low: str, high: str) -> str:
    if positions.max() < 16:
        return low
    return high if positions.min() >= 16 else ""
