"""Building and listing models by name: ``get_model``, ``list_models``, ``model_arguments``."""

from __future__ import annotations

import fnmatch
import re
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lit_cnn import plugins
from lit_cnn.errors import UserError, nearest
from lit_cnn.models import _external
from lit_cnn.models._argument_check import check_choice, check_int
from lit_cnn.models._input_check import report_input_errors_of
from lit_cnn.models._registry import MODELS, ModelInfo, arguments_of, is_built_in, takes_any_argument
from lit_cnn.nn.reference.conv import write_out_convolutions
from lit_cnn.utils.oom import is_out_of_memory

_FROM_DATA = ("num_classes", "in_channels")
_CONV = "conv"  # argument of every network of this package: torch's convolution, or the hand-written one
# What constructors, above all those of other zoos, have been seen to raise for a bad argument.
_REFUSALS = (TypeError, ValueError, AttributeError, RuntimeError, AssertionError, LookupError, ArithmeticError)


def list_models(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern, in the order of the registry.

    A word without wildcards is the model of that name or, if there is none, every model that has it anywhere in its
    name. Other zoos are searched only by patterns that begin with ``torchvision/`` or ``timm/``. A name of timm with
    the tag of pretrained weights after a dot is the model of that name.

    Raises:
        UserError: the pattern begins with ``timm/`` and timm is not installed.
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


def model_arguments(name: str) -> list[str]:
    """Names of the arguments that ``get_model(name, …)`` takes apart from ``num_classes`` and ``in_channels``.

    Raises:
        UserError: there is no such model.
    """
    if _external.is_external(name):
        _external.require(name)
        return _external.arguments(name)
    found = [argument for argument in arguments_of(_info(name).factory) if argument not in _FROM_DATA]
    return [*found, _CONV] if _takes_conv(name) else found


def _takes_conv(name: str) -> bool:
    """Whether ``get_model`` takes ``conv`` for this registered model: for those of this package."""
    return is_built_in(name) and _CONV not in arguments_of(MODELS[name].factory)


def get_model(name: str, /, num_classes: int = 1000, in_channels: int = 3, **kwargs: Any) -> nn.Module:
    """Build a model by name, with newly initialised weights.

    Args:
        name: one of ``list_models()``, or ``torchvision/NAME``, or ``timm/NAME``.
        num_classes: K, number of logits.
        in_channels: channels of the images.
        **kwargs: arguments of the model, see ``model_arguments``. ``conv="hand"`` computes the convolutions of a
            network of this package as they are written out in ``lit_cnn.nn.reference.conv``, from the same weights.

    Returns:
        A model whose forward raises a ``UserError`` of one line on images of a wrong shape or type. A compiled or
        exported one raises torch's own errors; ``input_error(model, images)`` returns that line.

    Raises:
        UserError: an unknown name or argument, a value the model refuses, or an argument that has no effect together
            with the others.
    """
    external = _external.is_external(name)
    if external:
        _external.require(name)
    else:
        _info(name)
        _refuse_unknown(name, kwargs)
    conv = kwargs.pop(_CONV, "torch") if not external and _takes_conv(name) else "torch"
    try:
        check_int(num_classes=num_classes, in_channels=in_channels)
        check_choice(("torch", "hand"), conv=conv)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    try:
        model = _build(name, num_classes, in_channels, kwargs)
    except Exception as error:
        own = not external and not is_built_in(name)
        # on the meta device this asks the caller to build it on another one
        on_meta = isinstance(error, NotImplementedError) and torch.get_default_device().type == "meta"
        if is_out_of_memory(error) or on_meta or isinstance(error, UserError):
            raise
        if not own and not isinstance(error, _REFUSALS):
            raise
        if external:
            _refuse_unknown(name, kwargs)
        elif isinstance(error, ValueError) and _names_argument(name, str(error)):
            raise UserError(f"{name}: {error}") from error
        if not own and not kwargs and not isinstance(error, TypeError | ValueError):
            raise
        raise UserError(_blame(name, num_classes, in_channels, kwargs, error)) from error
    if not isinstance(model, nn.Module):
        raise UserError(f"{name}: its factory must return a torch.nn.Module, got {type(model).__name__}")
    for argument, reason in ({} if external else getattr(model, "unused_arguments", {})).items():
        if argument in kwargs:
            raise UserError(f"{name}: {argument} must not be given: {reason}, got {kwargs[argument]!r}")
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            layer = path.rpartition(".")[0] or type(model).__name__
            raise UserError(f"{name}: the layer {layer} is lazy: give it fixed sizes, such as nn.Linear(64, 10)")
    if conv == "hand" and not write_out_convolutions(model):
        raise UserError(f"{name}: conv must not be given: it has no convolutions, got {conv!r}")
    return report_input_errors_of(model)


def _info(name: str) -> ModelInfo:
    if name not in MODELS:
        plugins.import_plugins()  # a Python caller may not have
    if name not in MODELS:
        raise UserError(
            f"unknown model {name!r}{nearest(name, MODELS) or ';'} lit-cnn models lists them, besides torchvision/NAME "
            "and timm/NAME; one of your own is registered when its package is named by `allow_import`"
        )
    return MODELS[name]


def _build(name: str, num_classes: int, in_channels: int, kwargs: dict[str, Any]) -> nn.Module:
    if _external.is_external(name):
        return _external.build(name, num_classes, in_channels, **kwargs)
    return MODELS[name].factory(num_classes=num_classes, in_channels=in_channels, **kwargs)


def _refuse_unknown(name: str, kwargs: dict[str, Any]) -> None:
    # timm passes on any argument, and its classes may take more than they name.
    if not kwargs or name.startswith("timm/") or (name in MODELS and takes_any_argument(MODELS[name].factory)):
        return
    valid = model_arguments(name)
    if unknown := [key for key in kwargs if key not in valid]:
        hint = nearest(unknown[0], valid) or "."
        listed = f"Its arguments are: {', '.join(valid)}" if valid else "It has none"
        raise UserError(f"{name} has no argument {unknown[0]!r}{hint} {listed}")


def _names_argument(name: str, message: str) -> bool:
    """Whether the message of a constructor begins with one of its arguments, as those of this package do."""
    word = re.match(r"\w*", message)
    return word is not None and word[0] in (*_FROM_DATA, *model_arguments(name))


def _blame(name: str, num_classes: int, in_channels: int, kwargs: dict[str, Any], error: Exception) -> str:
    """One line naming the argument without which the model can be built."""
    reason = " ".join(str(error).split())
    if isinstance(error, LookupError | ArithmeticError) or not isinstance(error, _REFUSALS) or not reason:
        # their texts say little by themselves
        reason = f"{type(error).__name__}: {reason}".removesuffix(": ")
    for key, value in kwargs.items():
        others = {k: v for k, v in kwargs.items() if k != key}
        try:
            with torch.device("meta"):
                _build(name, num_classes, in_channels, others)
        except Exception:  # it fails without this argument too, so another one is to blame
            continue
        return f"{name} cannot be built with {key}={value!r}: {reason}"
    given = ", ".join(f"{key}={value!r}" for key, value in kwargs.items())
    channels = f"{in_channels} channel{'s' if in_channels != 1 else ''}"
    return f"{name} cannot be built with {given or f'{num_classes} classes and {channels}'}: {reason}"
