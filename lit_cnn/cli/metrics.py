"""Metrics that can be monitored, and the direction in which they improve."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lit_cnn.errors import UserError, nearest


def mode_of(metric: str) -> str:
    """``max`` for a metric that improves when it rises, such as an accuracy, else ``min``; by its name."""
    return "max" if re.search(r"acc|f1|map$|auc|precision|recall|iou|psnr|ssim", metric) else "min"


def check_metric(setting: str, metric: str, measured: Sequence[str]) -> None:
    """Refuse to monitor what is not measured.

    Args:
        setting: that names the metric.
        metric: its name.
        measured: what the task measures.

    Raises:
        UserError: naming what is.
    """
    if metric not in measured:
        raise UserError(
            f"--{setting}: nothing is measured as {metric!r}{nearest(metric, measured) or ';'} "
            f"measured: {', '.join(measured)}"
        )
