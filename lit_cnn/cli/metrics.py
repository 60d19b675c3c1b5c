"""Metrics that can be monitored, and the direction in which they improve."""

from __future__ import annotations

import re

from lit_cnn.errors import UserError, nearest

METRICS = ("val/acc", "val/loss", "val/acc_top5", "val/f1", "val/map", "train/acc", "train/loss")


def mode_of(metric: str) -> str:
    """``max`` for a metric that improves when it rises, such as an accuracy, else ``min``; by its name."""
    return "max" if re.search(r"acc|f1|map$|auc|precision|recall|iou|psnr|ssim", metric) else "min"


def check_metric(setting: str, metric: str) -> None:
    """Refuse to monitor what is not measured.

    Raises:
        UserError: naming what is.
    """
    if metric not in METRICS:
        raise UserError(
            f"--{setting}: nothing is measured as {metric!r}{nearest(metric, METRICS) or ';'} "
            f"measured: {', '.join(METRICS)}"
        )
