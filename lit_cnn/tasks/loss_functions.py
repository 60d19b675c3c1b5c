"""Binary cross-entropy and focal loss of each sample, for one label or several labels an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bce(logits: Tensor, target: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of each class on its own (one against all), averaged over the classes.

    Wightman et al., "ResNet strikes back", 2021, arXiv 2110.00476, section 2.2, and timm's ``BinaryCrossEntropy``.

    Args:
        logits: float (N, K).
        target: class indices int64 (N,), or in [0, 1] for each class, float (N, K).
        pos_weight: float (K,), factor of the loss of the classes that are there, as of ``BCEWithLogitsLoss``.

    Returns:
        float (N,).
    """
    target = _per_class(target, logits)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=pos_weight, reduction="none").mean(1)


def focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss over softmax outputs: ``-(1 - p)^gamma log p`` with p of the true class.

    Lin et al., "Focal loss for dense object detection", 2017, arXiv 1708.02002, equation 4, for K classes. A gamma of 0
    is the cross-entropy.

    Args:
        logits: float (N, K).
        target: class indices int64 (N,), or class probabilities float (N, K), by which the terms of the classes are
            weighted.
        gamma: at least 0; 2 is the paper's.

    Returns:
        float (N,).
    """
    log_p = logits.log_softmax(1)
    terms = -(_power(-log_p.expm1(), gamma) * log_p)
    if target.ndim == 1:
        return terms.gather(1, target[:, None]).squeeze(1)
    return (terms * target).sum(1)


def binary_focal(logits: Tensor, target: Tensor, gamma: float = 2.0, pos_weight: Tensor | None = None) -> Tensor:
    """Focal loss over sigmoid outputs, averaged over the classes: the same paper, section 3, without its alpha.

    Args:
        logits: float (N, K).
        target: in [0, 1] for each class, float (N, K).
        gamma: at least 0; 2 is the paper's.
        pos_weight: float (K,), factor of the loss of the classes that are there.

    Returns:
        float (N,).
    """
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)  # of the class being there, and of its absence
    there = -(_power(log_q.exp(), gamma) * log_p)
    absent = -(_power(log_p.exp(), gamma) * log_q)
    if pos_weight is not None:
        there = there * pos_weight
    return (target * there + (1 - target) * absent).mean(1)


def _power(base: Tensor, gamma: float) -> Tensor:
    """``base^gamma`` of values in [0, 1]; at 0 a gamma below 1 has no finite gradient."""
    return base.clamp_min(torch.finfo(base.dtype).tiny) ** gamma


def _per_class(target: Tensor, logits: Tensor) -> Tensor:
    return F.one_hot(target, logits.shape[1]).to(logits) if target.ndim == 1 else target.to(logits)
