"""Outputs of evaluation steps, from all ranks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from lightning.pytorch import Trainer

from lit_cnn.results.predictions import Predictions


def gather_skipped(trainer: Trainer, own: Mapping[str, str]) -> dict[str, str]:
    """Images that a rank could not read, with the reasons, of all ranks, all of which call this."""
    parts: list[Mapping[str, str]] = [own]
    if trainer.world_size > 1:
        parts *= trainer.world_size
        torch.distributed.all_gather_object(parts, dict(own))
    return {name: reason for part in parts for name, reason in part.items()}


def gather_outputs(trainer: Trainer, batches: list[dict[str, torch.Tensor]]) -> Predictions:
    """Join batches of all ranks, by ``index``, each image once; empty where there was none.

    Args:
        trainer: of the ranks, all of which call this.
        batches: this rank's, tensors (N, …) by name.
    """
    own = {k: torch.cat([b[k] for b in batches]).cpu().numpy() for k in (batches or [{}])[0]}
    parts: list[Predictions] = [own]
    if trainer.world_size > 1:
        parts *= trainer.world_size
        torch.distributed.all_gather_object(parts, own)
    filled = [part for part in parts if part]  # a rank may have had no batch
    if not filled:
        return {}
    joined = {k: np.concatenate([part[k] for part in filled]) for k in filled[0]}
    _, first = np.unique(joined["index"], return_index=True)
    return {k: v[first] for k, v in joined.items()}
