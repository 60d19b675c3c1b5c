"""Losses over backbone outputs. The only place that knows about auxiliary heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.errors import UserError

LossName = Literal["cross_entropy", "mse_softmax"]
Outputs = Tensor | tuple[Tensor, ...]


def split_outputs(outputs: Outputs) -> tuple[Tensor, dict[str, Tensor]]:
    """Separate main logits from auxiliary ones.

    Args:
        outputs: logits (N, K), or ``(logits, *aux_logits)`` as a tuple or namedtuple; absent heads may be ``None``.

    Returns:
        Main logits and ``{"aux1": logits, ...}``. A namedtuple's fields give the numbers (torchvision's GoogLeNet
        returns ``aux_logits2`` before ``aux_logits1``), a plain tuple's positions do.
    """
    if isinstance(outputs, Tensor):
        return outputs, {}
    fields = getattr(outputs, "_fields", None)
    names = [f.replace("aux_logits", "aux") for f in fields] if fields else [f"aux{i}" for i in range(len(outputs))]
    return outputs[0], {n: o for n, o in zip(names[1:], outputs[1:], strict=True) if o is not None}


class ClassificationLoss(nn.Module):
    """Loss of a classifier, auxiliary heads included.

    Args:
        name: ``cross_entropy``, or ``mse_softmax``: mean over all N x K entries of (softmax(logits) - target)^2.
        label_smoothing: share of the target spread evenly over all K classes, in [0, 1).
        aux_weights: weight of every auxiliary head, or one per head in the order of their names. 0.3 is the
            weight of GoogLeNet (Szegedy et al., "Going deeper with convolutions", 2015, section 5).
    """

    def __init__(
        self, name: LossName = "cross_entropy", label_smoothing: float = 0.0, aux_weights: float | Sequence[float] = 0.3
    ) -> None:
        super().__init__()
        if name not in ("cross_entropy", "mse_softmax"):
            raise UserError(f"unknown loss {name!r}: use 'cross_entropy' or 'mse_softmax'")
        if not 0.0 <= label_smoothing < 1.0:
            raise UserError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        self.name = name
        self.label_smoothing = label_smoothing
        self.aux_weights = aux_weights

    def per_sample(self, logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Loss of each sample.

        Args:
            logits: float (N, K).
            target: class indices int64 (N,), or class probabilities float (N, K).
            label_smoothing: 0 by default, so that evaluation is comparable between runs that smooth and do not.

        Returns:
            float32 (N,).
        """
        logits = logits.float()
        if self.name == "cross_entropy":
            return F.cross_entropy(logits, target, reduction="none", label_smoothing=label_smoothing)
        if target.ndim == 1:
            target = F.one_hot(target, logits.shape[1])
        target = target.float() * (1 - label_smoothing) + label_smoothing / logits.shape[1]
        return (logits.softmax(1) - target).square().mean(1)

    def forward(self, outputs: Outputs, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Training loss.

        Args:
            outputs: what the backbone returned in training mode.
            target: class indices int64 (N,), or class probabilities float (N, K).

        Returns:
            The scalar to minimise, and its unweighted auxiliary parts ``{"loss_aux1": scalar, ...}``.
        """
        logits, aux = split_outputs(outputs)
        total = self.per_sample(logits, target, self.label_smoothing).mean()
        parts: dict[str, Tensor] = {}
        for weight, (name, aux_logits) in zip(self._weights(len(aux)), sorted(aux.items()), strict=True):
            part = self.per_sample(aux_logits, target, self.label_smoothing).mean()
            parts[f"loss_{name}"] = part.detach()
            total = total + weight * part
        return total, parts

    def _weights(self, heads: int) -> Sequence[float]:
        if isinstance(self.aux_weights, (int, float)):
            return [float(self.aux_weights)] * heads
        if heads and len(self.aux_weights) != heads:
            raise UserError(
                f"aux_weights has {len(self.aux_weights)} values but the backbone has {heads} auxiliary heads: "
                "give one number for all, or one for each"
            )
        return self.aux_weights[:heads]


def soft_targets(target: Tensor, num_classes: int) -> Tensor:
    """One-hot targets: int64 (N,) to float32 (N, K)."""
    return F.one_hot(target, num_classes).to(torch.float32)
