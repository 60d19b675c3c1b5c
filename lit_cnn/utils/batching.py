"""Batch sizes that follow from others."""

from __future__ import annotations

MAX_EVAL_BATCH_SIZE = 1024  # images; larger batches are hardly faster


def default_eval_batch_size(batch_size: int) -> int:
    """Evaluation batch size for a training ``batch_size``: four times as many, as no backward pass follows."""
    return max(batch_size, min(4 * batch_size, MAX_EVAL_BATCH_SIZE))
