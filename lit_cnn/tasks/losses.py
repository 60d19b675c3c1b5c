"""Classification losses over backbone outputs. The only module that handles auxiliary heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.utils.registry import Registry

Outputs = Tensor | tuple[Tensor, ...]

LOSSES = Registry("loss", "model.loss", built_in=("cross_entropy", "mse_softmax"))
register_loss = LOSSES.register
"""Decorator that makes a function a value of ``model.loss``, under its own name or ``name=``.

The function maps logits float32 (N, K) and targets, class indices int64 (N,) or, with label smoothing or mixing, class
probabilities float (N, K), to the loss of each sample, float (N,)::

    @lit_cnn.register_loss
    def focal(logits, target): ...
"""


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
        name: ``cross_entropy``; ``mse_softmax``: mean over all N x K entries of (softmax(logits) - target)^2; or one
            added by :data:`register_loss`.
        label_smoothing: share of the target spread evenly over all K classes, in [0, 1).
        aux_weights: weight of every auxiliary head, or one per head in the order of their names. 0.3 is the
            weight of GoogLeNet (Szegedy et al., "Going deeper with convolutions", 2015, section 5).

    Raises:
        UserError: for an unknown loss, or a label smoothing outside [0, 1).
    """

    def __init__(
        self, name: str = "cross_entropy", label_smoothing: float = 0.0, aux_weights: float | Sequence[float] = 0.3
    ) -> None:
        super().__init__()
        self._registered = None if name in LOSSES.built_in else LOSSES[name]
        if not 0.0 <= label_smoothing < 1.0:
            raise UserError(f"`model.label_smoothing` must be in [0, 1), got {label_smoothing}")
        self.name = name
        self.label_smoothing = label_smoothing
        self.aux_weights = aux_weights

    def per_sample(self, logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Loss of each sample.

        Args:
            logits: float (N, K).
            target: class indices int64 (N,), or class probabilities float (N, K).
            label_smoothing: 0 by default, so that evaluations of runs with and without it are comparable.

        Returns:
            float32 (N,).

        Raises:
            UserError: a registered loss does not return one value per sample.
        """
        logits = logits.float()
        if self.name == "cross_entropy":
            return F.cross_entropy(logits, target, reduction="none", label_smoothing=label_smoothing)
        if self._registered is not None:
            return self._call_registered(
                logits, _smooth(target, logits, label_smoothing) if label_smoothing else target
            )
        return (logits.softmax(1) - _smooth(target, logits, label_smoothing)).square().mean(1)

    def _call_registered(self, logits: Tensor, target: Tensor) -> Tensor:
        assert self._registered is not None
        losses = self._registered(logits, target)
        if not isinstance(losses, Tensor) or losses.shape != logits.shape[:1]:
            got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise UserError(
                f"the loss {self.name!r} returns {got}, but one value per sample, a tensor (N,) = ({len(logits)},), is "
                "expected: do not average over the batch"
            )
        return losses.float()

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
                f"`model.aux_weights` has {len(self.aux_weights)} values but the backbone has {heads} auxiliary heads: "
                "give one number for all, or one for each"
            )
        return self.aux_weights[:heads]


def _smooth(target: Tensor, logits: Tensor, label_smoothing: float) -> Tensor:
    """Class probabilities float (N, K) with ``label_smoothing`` of them spread over all classes."""
    if target.ndim == 1:
        target = F.one_hot(target, logits.shape[1])
    return target.float() * (1 - label_smoothing) + label_smoothing / logits.shape[1]


def soft_targets(target: Tensor, num_classes: int) -> Tensor:
    """One-hot targets: int64 (N,) to float32 (N, K)."""
    return F.one_hot(target, num_classes).to(torch.float32)
