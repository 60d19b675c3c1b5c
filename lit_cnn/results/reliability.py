"""reliability.png: how often predictions of each confidence are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lit_cnn.results.calibration import BINS, ece, reliability
from lit_cnn.results.curves import save_figure, why_no_figures
from lit_cnn.results.scores import wilson

RELIABILITY = "reliability.png"


def write_reliability(out_dir: Path, target: np.ndarray, probs: np.ndarray, raw: np.ndarray) -> None:
    """Draw accuracy, with 95% intervals, over confidence, and how many images have it.

    Args:
        out_dir: folder.
        target: int (N,); below 0: unknown, not counted.
        probs: float (N, K).
        raw: the same before the temperature; drawn too where they differ.
    """
    known = target >= 0
    if why_no_figures() or not known.any():  # the confusion matrices say why
        return
    from matplotlib.figure import Figure  # here, since matplotlib takes half a second to import

    target, probs, raw = target[known], probs[known], raw[known]
    found = reliability(target, probs)
    figure = Figure(figsize=(5.2, 5.6), dpi=110, layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    top.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="probabilities that hold")
    filled = found.images > 0
    if not np.array_equal(probs, raw):
        before = reliability(target, raw)
        label = f"without temperature, ECE {ece(target, raw):.3f}"
        top.plot(before.confidence, before.accuracy, color="#d95f02", marker="x", linewidth=1, alpha=0.8, label=label)
    x, y = found.confidence[filled], found.accuracy[filled]
    scores = [wilson(a * n, n) for a, n in zip(y, found.images[filled], strict=True)]
    ends = np.array([[max(s.value - s.low, 0), max(s.high - s.value, 0)] for s in scores]).T
    label = f"ECE {ece(target, probs):.3f}, bars: 95%"
    top.errorbar(x, y, yerr=ends, color="#1f77b4", marker="o", markersize=4, linewidth=1, capsize=2, label=label)
    top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    top.set_title(f"{len(target):,} images", fontsize=11)
    top.legend(fontsize="small", loc="upper left")
    top.grid(alpha=0.3)
    bottom.bar((np.arange(BINS) + 0.5) / BINS, found.images, width=0.9 / BINS, color="#1f77b4")
    bottom.set(xlabel="confidence: probability of the predicted class", ylabel="images")
    save_figure(figure, out_dir / RELIABILITY)
