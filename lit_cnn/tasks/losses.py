"""Classification losses over backbone outputs. The only module that handles auxiliary heads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn import plugins
from lit_cnn.errors import UserError
from lit_cnn.tasks.loss_functions import bce, binary_focal, focal
from lit_cnn.utils.oom import is_out_of_memory
from lit_cnn.utils.registry import Registry

Outputs = Tensor | tuple[Tensor, ...]


def _check_loss(name: str, loss: Callable[..., Any]) -> None:
    if inspect.isclass(loss):
        raise UserError(f"register_loss: {name} is a class: register a function of (logits, target), or an instance")
    try:
        inspect.signature(loss).bind(None, None)
    except TypeError:
        raise UserError(f"register_loss: {name} must take two arguments, (logits, target)") from None
    except ValueError:  # a built-in function without a signature
        pass


LOSSES = Registry(
    "loss",
    "model.loss",
    built_in=("cross_entropy", "mse_softmax"),
    check=_check_loss,
    load_more=plugins.import_plugins,
    defaults={"bce": bce, "focal": focal},
)
register_loss = LOSSES.register
"""Decorator that makes a function a value of ``model.loss``, under its own name or ``name=``.

The function maps logits float32 (N, K) and targets, class indices int64 (N,) or, with label smoothing or mixing, class
probabilities float (N, K), to the loss of each sample, float (N,)::

    @lit_cnn.register_loss
    def poly1(logits, target): ...
"""


def split_outputs(outputs: Outputs, backbone: str = "the backbone") -> tuple[Tensor, dict[str, Tensor]]:
    """Separate main logits from auxiliary ones.

    Args:
        outputs: logits (N, K), or ``(logits, *aux_logits)`` as a tuple or namedtuple; absent heads may be ``None``.
        backbone: its name, for messages.

    Returns:
        Main logits and ``{"aux1": logits, ...}``. A namedtuple's fields give the numbers (torchvision's GoogLeNet
        returns ``aux_logits2`` before ``aux_logits1``), a plain tuple's positions do.

    Raises:
        UserError: outputs of other types.
    """
    if isinstance(outputs, Tensor):
        return outputs, {}
    if not isinstance(outputs, (tuple, list)) or not outputs or not isinstance(outputs[0], Tensor):
        raise _wrong_outputs(backbone, outputs)
    if not all(output is None or isinstance(output, Tensor) for output in outputs):
        raise _wrong_outputs(backbone, outputs)
    fields = getattr(outputs, "_fields", None)
    names = [f.replace("aux_logits", "aux") for f in fields] if fields else [f"aux{i}" for i in range(len(outputs))]
    return outputs[0], {n: o for n, o in zip(names[1:], outputs[1:], strict=True) if o is not None}


def _wrong_outputs(backbone: str, outputs: Any) -> UserError:
    got = type(outputs).__name__
    if isinstance(outputs, (tuple, list)):
        got += f" of ({', '.join(type(output).__name__ for output in outputs)})"
    return UserError(
        f"{backbone} returns a {got}, but logits, a tensor (N, K), or a tuple (logits, *aux_logits) are expected"
    )


class ClassificationLoss(nn.Module):
    """Loss of a classifier, auxiliary heads included.

    Args:
        name: ``cross_entropy``; ``mse_softmax``: mean over all N x K entries of (softmax(logits) - target)^2; ``bce``
            and ``focal``, see :mod:`~lit_cnn.tasks.loss_functions`; or one added by :data:`register_loss`.
        label_smoothing: share of the target spread evenly over all K classes, in [0, 1). With ``multilabel``: over the
            class being there and its absence.
        aux_weights: weight of every auxiliary head, or one per head in the order of their names. 0.3 is the
            weight of GoogLeNet (Szegedy et al., "Going deeper with convolutions", 2015, section 5).
        focal_gamma: of ``focal``.
        multilabel: targets are 0 or 1 for each class, (N, K); ``cross_entropy`` and ``bce`` are both the binary one.
        weighted_classes: K where :attr:`class_weights` will be set, 0 for a loss without them.

    Attributes:
        class_weights: float32 (K,), or None. Of training only: each sample's loss is multiplied by the weight of its
            class (of a mixed sample by that of its classes, in their proportion), and the sum is divided by that of the
            weights, as ``torch.nn.CrossEntropyLoss(weight=...)`` does without label smoothing. With ``multilabel``:
            factors of the loss of the classes that are there, as ``pos_weight`` of ``BCEWithLogitsLoss``.

    Raises:
        UserError: for an unknown loss, a label smoothing outside [0, 1), or a loss that is not for several labels.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        name: str = "cross_entropy",
        label_smoothing: float = 0.0,
        aux_weights: float | Sequence[float] = 0.3,
        *,
        focal_gamma: float = 2.0,
        multilabel: bool = False,
        weighted_classes: int = 0,
    ) -> None:
        super().__init__()
        self._registered = None if name in LOSSES.built_in else LOSSES[name]
        if not 0.0 <= label_smoothing < 1.0:
            raise UserError(f"`model.label_smoothing` must be in [0, 1), got {label_smoothing}")
        if focal_gamma < 0:
            raise UserError(f"`model.focal_gamma` must be at least 0, got {focal_gamma}: 2 is usual")
        own = self._registered in (bce, focal)
        if multilabel and name == "mse_softmax":
            raise UserError("`model.loss=mse_softmax` is for one class an image, and these have several: use bce")
        if multilabel and weighted_classes and self._registered is not None and not own:
            raise UserError(f"`model.class_weights` of several labels an image are for bce and focal, not for {name}")
        if self._registered is focal:
            self._registered = partial(binary_focal if multilabel else focal, gamma=focal_gamma)
        elif multilabel and name == "cross_entropy":
            self._registered = bce
        self.name = name
        self.label_smoothing = label_smoothing
        self.aux_weights = aux_weights
        self.multilabel = multilabel
        # In checkpoints it is a plain list, beside the backbone's tensors.
        self.register_buffer(
            "class_weights", torch.ones(weighted_classes) if weighted_classes else None, persistent=False
        )

    def per_sample(self, logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Loss of each sample, without class weights.

        Args:
            logits: float (N, K).
            target: class indices int64 (N,), or class probabilities float (N, K); with ``multilabel`` 0 to 1 (N, K).
            label_smoothing: 0 by default, so that evaluations of runs with and without it are comparable.

        Returns:
            float32 (N,).

        Raises:
            UserError: a registered loss fails, or does not return one differentiable value per sample.
        """
        logits = logits.float()
        if self.multilabel:
            return self._binary(logits, target, label_smoothing)
        if self.name == "cross_entropy":
            return F.cross_entropy(logits, target, reduction="none", label_smoothing=label_smoothing)
        if self._registered is not None:
            return self._call_registered(
                logits, _smooth(target, logits, label_smoothing) if label_smoothing else target
            )
        return (logits.softmax(1) - _smooth(target, logits, label_smoothing)).square().mean(1)

    def _mean(self, logits: Tensor, target: Tensor) -> Tensor:
        """Training loss of one head, a scalar."""
        if self.class_weights is None:
            return self.per_sample(logits, target, self.label_smoothing).mean()
        if self.multilabel:
            return self._binary(logits.float(), target, self.label_smoothing, pos_weight=self.class_weights).mean()
        weights = self.class_weights[target] if target.ndim == 1 else target.float() @ self.class_weights
        return (self.per_sample(logits, target, self.label_smoothing) * weights).sum() / weights.sum()

    def _binary(self, logits: Tensor, target: Tensor, label_smoothing: float, **kwargs: Tensor) -> Tensor:
        """Loss of each sample with several labels, float (N,)."""
        return self._call_registered(logits, target.float() * (1 - label_smoothing) + label_smoothing / 2, **kwargs)

    def _call_registered(self, logits: Tensor, target: Tensor, **kwargs: Tensor) -> Tensor:
        assert self._registered is not None
        try:
            losses = self._registered(logits, target, **kwargs)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = (str(error).strip() or "no message").splitlines()[0]
            raise UserError(
                f"the loss {self.name!r} failed on logits {tuple(logits.shape)} and {target.dtype} targets "
                f"{tuple(target.shape)}: {type(error).__name__}: {reason}"
            ) from error
        if not isinstance(losses, Tensor) or losses.shape != logits.shape[:1]:
            got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise UserError(
                f"the loss {self.name!r} returns {got}, but one value per sample, a tensor (N,) = ({len(logits)},), is "
                "expected: do not average over the batch"
            )
        if not losses.is_floating_point():
            raise UserError(f"the loss {self.name!r} returns {losses.dtype}, but a floating-point tensor is expected")
        if torch.is_grad_enabled() and logits.requires_grad and not losses.requires_grad:
            raise UserError(
                f"the loss {self.name!r} returns values without a gradient: compute them from the logits by "
                "differentiable operations, without detach, argmax or no_grad"
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
        total = self._mean(logits, target)
        parts: dict[str, Tensor] = {}
        for weight, (name, aux_logits) in zip(self._weights(len(aux)), sorted(aux.items()), strict=True):
            part = self._mean(aux_logits, target)
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
    """One-hot targets: int64 (N,) to float32 (N, K); those of several labels, (N, K), as float32."""
    if target.ndim == 2:
        return target.to(torch.float32)
    return F.one_hot(target, num_classes).to(torch.float32)
