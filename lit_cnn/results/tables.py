"""Tables of an evaluation, for the terminal."""

from __future__ import annotations

import numpy as np
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from lit_cnn.results.metrics_json import per_class_accuracy
from lit_cnn.results.predictions import Predictions, ranked

MAX_IMAGES = 20  # of a predict run's table
MAX_CLASSES = 20  # shown one by one; of more, the EXTREMES worst and best
EXTREMES = 5


def metrics_table(split: str, names: list[str], counts: np.ndarray, scalars: dict[str, float], skipped: int) -> Table:
    """The run's metrics, then the accuracy of each class, or of the worst and the best if there are many."""
    accuracy, support = per_class_accuracy(counts)
    table = Table(
        title=f"{split}: {int(support.sum()):,} images{_and_skipped(skipped)}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE,
        show_edge=False,
    )
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("images", justify="right")
    words = {"acc": "accuracy", "acc_top5": "top-5 accuracy"}
    own = {name.removeprefix(f"{split}/"): v for name, v in scalars.items() if name.startswith(f"{split}/")}
    for name in sorted(own, key=lambda n: (["acc", "acc_top5", "loss"].index(n) if n in (*words, "loss") else 9, n)):
        table.add_row(Text(words.get(name, name)), f"{own[name]:.4f}", "")
    order: list[int] = list(range(len(names)))
    heads = {0: "accuracy by class"}
    if len(names) > MAX_CLASSES:
        by_accuracy = [int(i) for i in np.argsort(accuracy, kind="stable") if support[i]]
        order = by_accuracy[:EXTREMES] + by_accuracy[EXTREMES:][-EXTREMES:]
        heads = {0: f"the {EXTREMES} worst classes", EXTREMES: f"the {EXTREMES} best classes"}
    for position, index in enumerate(order):
        if position in heads:
            table.add_section()
            table.add_row(Text(heads[position], style="italic"), "", "")
        value = f"{accuracy[index]:.4f}" if support[index] else "-"
        table.add_row(Text(names[index]), value, f"{int(support[index]):,}")
    return table


def predictions_table(files: list[str], names: list[str], found: Predictions, skipped: int) -> Table:
    """The first images of a predict run with their classes."""
    more = len(files) - MAX_IMAGES
    caption = f"and {more:,} more in predictions.csv" if more > 0 else None
    table = Table(
        title=f"{len(files):,} predictions{_and_skipped(skipped)}",
        title_justify="left",
        title_style="bold",
        caption=caption,
        box=SIMPLE,
        show_edge=False,
    )
    for head in ("file", "class", "probability", "runners-up"):
        table.add_column(head, justify="right" if head == "probability" else "left", overflow="fold")
    for name, (first, *others) in zip(files[:MAX_IMAGES], ranked(names, found), strict=False):
        rest = ", ".join(f"{label} {prob:.2f}" for label, prob in others[:2])
        table.add_row(Text(name), Text(first[0]), f"{first[1]:.4f}", Text(rest))
    return table


def _and_skipped(number: int) -> str:
    return f", {number:,} skipped" if number else ""
