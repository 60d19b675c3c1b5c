"""The model package: every network by name. Pure torch, one family a file.

A model maps float images (N, C, H, W) to logits (N, K). In training mode it may return ``(logits, *aux_logits)``;
in eval mode always logits alone. Auxiliary heads are children whose name begins with ``aux``. Arguments that do
nothing in the network as it was built are in its ``idle``, each with the reason; ``get_model`` refuses them if given.
"""

from __future__ import annotations

import fnmatch
from inspect import signature
from typing import Any

import torch
from torch import nn

from lit_cnn.errors import UserError, nearest
from lit_cnn.models import (
    _external,
    alexnet,
    densenet,
    googlenet,
    labnets,
    lenet,
    mnist_cnn,
    nin,
    residual_cifar,
    resnet,
    speednet,
    vgg,
)
from lit_cnn.models._argument_check import whole
from lit_cnn.models._freeze import auxiliary_heads, find_head, freeze
from lit_cnn.models._input_check import explain, smallest_input
from lit_cnn.models._registry import Row
from lit_cnn.models._weights import WeightsReport, load_weights

__all__ = [
    "MODELS",
    "Row",
    "WeightsReport",
    "auxiliary_heads",
    "explain",
    "find_head",
    "freeze",
    "get_model",
    "list_models",
    "load_weights",
    "model_arguments",
    "smallest_input",
]

MODELS: dict[str, Row] = {}
for _family in (
    lenet, mnist_cnn, alexnet, vgg, nin, googlenet, resnet, densenet, residual_cifar, labnets, speednet
):  # fmt: skip
    MODELS |= _family.MODELS

_HIDDEN = ("num_classes", "in_channels")
# What constructors, above all those of other zoos, have been seen to raise for a bad argument.
_REFUSALS = (TypeError, ValueError, AttributeError, RuntimeError, AssertionError, LookupError, ArithmeticError)


def list_models(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern, in the order of the registry.

    A word without wildcards is the model of that name, or if there is none, all that have it anywhere in their names.

    Other zoos are searched only by patterns that begin with ``torchvision/`` or ``timm/``. A name of timm with the tag
    of pretrained weights behind a dot is the model of that name.

    Raises:
        UserError: timm is asked for and not installed.
    """
    zoo, slash, _ = pattern.partition("/")
    if slash and zoo == "torchvision":
        names = _external.torchvision_names()
    elif slash and zoo == "timm":
        names = _external.timm_names()
    else:
        names = list(MODELS)
    for exact in (pattern, pattern.partition(".")[0] if zoo == "timm" else pattern):
        if exact in names:
            return [exact]
    if not any(c in pattern for c in "*?["):
        pattern = f"{zoo}/*{pattern[len(zoo) + 1 :]}*" if slash else f"*{pattern}*"
    return [name for name in names if fnmatch.fnmatch(name, pattern)]


def _row(name: str) -> Row:
    if name not in MODELS:
        hint = nearest(name, MODELS) or "."
        raise UserError(f"unknown model {name!r}{hint} `lit-cnn models` lists them (and torchvision/NAME, timm/NAME)")
    return MODELS[name]


def _is_external(name: str) -> bool:
    return name.startswith(("torchvision/", "timm/"))


def model_arguments(name: str) -> list[str]:
    """Names of the arguments that ``get_model(name, …)`` takes apart from ``num_classes`` and ``in_channels``.

    Raises:
        UserError: there is no such model.
    """
    if _is_external(name):
        _external.require(name)
        return _external.arguments(name)
    # What a row has bound by position is its architecture, not an argument; `signature` leaves it out.
    return [p for p in signature(_row(name).factory).parameters if p not in _HIDDEN]


def get_model(name: str, /, num_classes: int = 1000, in_channels: int = 3, **kwargs: Any) -> nn.Module:
    """Build a model by name, with fresh weights.

    Args:
        name: one of ``list_models()``, or ``torchvision/NAME``, or ``timm/NAME``.
        num_classes: K, number of logits.
        in_channels: channels of the images.
        **kwargs: arguments of the model, see ``model_arguments``.

    Returns:
        A model, also of another zoo, whose forward ends in one line (``UserError``) on images of a wrong shape or
        type. A compiled or exported one raises torch's own errors; ``explain(model, images)`` says the line then.

    Raises:
        UserError: an unknown name or argument, a value the model refuses, or an argument that does nothing with the
            others as they are.
    """
    if _is_external(name):
        _external.require(name)
    else:
        _row(name)
        _refuse_unknown(name, kwargs)
    try:
        whole(num_classes=num_classes, in_channels=in_channels)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    try:
        model = _build(name, num_classes, in_channels, kwargs)
    except _REFUSALS as error:
        if _is_external(name):
            _refuse_unknown(name, kwargs)
        elif isinstance(error, ValueError):  # of our own checks, which name the argument
            raise UserError(f"{name}: {error}") from error
        if not kwargs and not isinstance(error, TypeError | ValueError):
            raise
        raise UserError(_blame(name, num_classes, in_channels, kwargs, error)) from error
    for argument, reason in ({} if _is_external(name) else getattr(model, "idle", {})).items():
        if argument in kwargs:
            raise UserError(f"{name}: {argument} must be left out: {reason}, got {kwargs[argument]!r}")
    return model


def _build(name: str, num_classes: int, in_channels: int, kwargs: dict[str, Any]) -> nn.Module:
    if _is_external(name):
        return _external.build(name, num_classes, in_channels, **kwargs)
    return MODELS[name].factory(num_classes=num_classes, in_channels=in_channels, **kwargs)


def _refuse_unknown(name: str, kwargs: dict[str, Any]) -> None:
    if not kwargs:
        return
    valid = model_arguments(name)
    unknown = [key for key in kwargs if key not in valid]
    # timm hands any argument on, and its classes may take more than they name.
    if unknown and not name.startswith("timm/"):
        hint = nearest(unknown[0], valid) or "."
        raise UserError(f"{name} has no argument {unknown[0]!r}{hint} Its arguments are: {', '.join(valid)}")


def _blame(name: str, num_classes: int, in_channels: int, kwargs: dict[str, Any], error: Exception) -> str:
    """One line naming the argument without which the model can be built."""
    reason = " ".join(str(error).split())
    if isinstance(error, LookupError | ArithmeticError):  # their texts say little by themselves
        reason = f"{type(error).__name__}: {reason}"
    for key, value in kwargs.items():
        others = {k: v for k, v in kwargs.items() if k != key}
        try:
            with torch.device("meta"):
                _build(name, num_classes, in_channels, others)
        except Exception:  # without this argument it fails too: look at the next
            continue
        return f"{name} cannot be built with {key}={value!r}: {reason}"
    given = ", ".join(f"{key}={value!r}" for key, value in kwargs.items())
    return f"{name} cannot be built with {given or f'num_classes={num_classes}, in_channels={in_channels}'}: {reason}"
