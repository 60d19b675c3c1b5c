"""Tables of an evaluation, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from lit_cnn.results.evaluation import Evaluation, digits_of, format_score, what_it_tells
from lit_cnn.results.metrics_json import per_class_accuracy
from lit_cnn.results.predictions import Predictions, members, ranked

MAX_IMAGES = 20  # of a predict run's table
MAX_MEMBERS = 3  # of a set that are named
MAX_CLASSES = 20  # shown one by one; of more, the EXTREMES worst and best
EXTREMES = 5
SHOWN = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "F1, macro",
    "roc_auc_ovr": "AUROC",
    "cohen_kappa": "Cohen's kappa",
}


def metrics_table(
    split: str,
    names: list[str],
    counts: np.ndarray,
    scalars: dict[str, float],
    skipped: int,
    result: Evaluation | None = None,
) -> Table:
    """The run's metrics, then the accuracy of each class, or of the worst and the best if there are many.

    Args:
        split: named in the title.
        names: K class names.
        counts: int64 (K, K), true classes on rows.
        scalars: metrics by name.
        skipped: number of images that could not be read.
        result: scores, shown with their intervals.
    """
    result = result or Evaluation()
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
    digits = digits_of(result.overall["accuracy"]) if "accuracy" in result.overall else None
    own = {name.removeprefix(f"{split}/"): v for name, v in scalars.items() if name.startswith(f"{split}/")}
    for name in sorted(own, key=lambda n: (["acc", "acc_top5", "loss"].index(n) if n in (*words, "loss") else 9, n)):
        score = result.overall.get({"acc": "accuracy", "acc_top5": "top_5_accuracy"}.get(name, ""))
        table.add_row(Text(words.get(name, name)), format_score(score, digits) if score else f"{own[name]:.4f}", "")
    for name, word in SHOWN.items():
        if name in result.overall and not (name == "accuracy" and "acc" in own):
            table.add_row(word, format_score(result.overall[name], digits), "")
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
        if result.classes:
            value = format_score(result.classes[index].recall)
        table.add_row(Text(names[index]), value, f"{int(support[index]):,}")
    return table


def sentences(result: Evaluation, images: int) -> Iterator[str]:
    """What so many images can tell, and how far the probabilities can be believed."""
    if "accuracy" in result.overall:
        yield what_it_tells(result.overall["accuracy"], images)
    errors = result.errors
    if "ece_raw" in errors:
        yield (
            f"calibration error (ECE) {errors['ece_raw']:.3f} -> {errors['ece']:.3f} with temperature "
            f"{errors['temperature']:.2f}, which the validation images chose"
        )
    elif "ece" in errors:
        yield f"calibration error (ECE) {errors['ece']:.3f}"
    if "set_coverage" in result.overall:
        yield (
            f"sets that should hold the true class for 90% of images hold it for "
            f"{100 * result.overall['set_coverage'].value:.1f}%, with {errors['set_size']:.2f} classes on average"
        )


def predictions_table(
    files: list[str], names: list[str], found: Predictions, skipped: int, threshold: float = 0.0
) -> Table:
    """The first images of a predict run with their classes; with a threshold, with the sets of classes too."""
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
    with_sets = threshold > 0 and "probs" in found
    if with_sets:
        table.add_column("90% set", overflow="fold")
    for row, (name, (first, *others)) in enumerate(zip(files[:MAX_IMAGES], ranked(names, found), strict=False)):
        rest = ", ".join(f"{label} {prob:.2f}" for label, prob in others[:2])
        unlike = " (none of these?)" if "ood" in found and found["ood"][row] else ""
        cells: list[Text | str] = [Text(name), Text(first[0] + unlike), f"{first[1]:.4f}", Text(rest)]
        if with_sets:
            cells.append(Text(_shown(members(names, found["probs"][row], threshold))))
        table.add_row(*cells)
    return table


def _shown(inside: list[str]) -> str:
    """A set of classes, the first ones by name."""
    more = len(inside) - MAX_MEMBERS
    return ", ".join(inside[:MAX_MEMBERS]) + (f" and {more} more" if more > 0 else "")


def _and_skipped(number: int) -> str:
    return f", {number:,} skipped" if number else ""
