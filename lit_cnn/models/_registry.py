"""The model registry: every network by name, those of this package and those that a user registers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Any, TypeVar, overload

from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models._argument_check import check_int

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])


@dataclass(frozen=True)
class ModelInfo:
    """What the registry holds of a model.

    Attributes:
        factory: called as ``factory(num_classes=…, in_channels=…, **arguments)``.
        paper: authors, title or number, and section where there is one.
        year: of publication.
        image_size: side of the square input that the figures are given for, pixels; ``None`` if it is not known.
        in_channels, num_classes: the ones of the source; parameters are counted with them.
        parameters: the count published or found in the reference implementation, ``None`` if there is none.
        source: where that count comes from.
        torchvision: name of the torchvision model whose state dict fits unchanged, so that its weights can be loaded.
        task: ``classification`` (logits), or ``restoration`` (images of the input's size and ``num_classes`` channels).
    """

    factory: Callable[..., nn.Module]
    paper: str = ""
    year: int | None = None
    image_size: int | None = 224
    in_channels: int = 3
    num_classes: int = 1000
    parameters: int | None = None
    source: str = ""
    torchvision: str | None = None
    task: str = "classification"


MODELS: dict[str, ModelInfo] = {}


def add_models(models: Mapping[str, ModelInfo]) -> None:
    """Register the models of one family.

    Raises:
        UserError: a name is taken by another factory. One from the same module and of the same name is replaced, so
            that a module can be reloaded and a notebook's cell run again.
    """
    for name, info in models.items():
        before = MODELS.get(name)
        if before is not None and _origin(before.factory) != _origin(info.factory):
            raise UserError(
                f"there is a model {name!r} already, in {_origin(before.factory)[0]}: register yours, in "
                f"{_origin(info.factory)[0]}, under another name"
            )
        MODELS[name] = info


@overload
def register_model(factory: Factory) -> Factory: ...
@overload
def register_model(
    *,
    name: str | None = None,
    paper: str = "",
    year: int | None = None,
    image_size: int | None = None,
    in_channels: int = 3,
    num_classes: int = 1000,
    torchvision: str | None = None,
) -> Callable[[Factory], Factory]: ...
def register_model(
    factory: Factory | None = None, *, name: str | None = None, image_size: int | None = None, **info: Any
) -> Factory | Callable[[Factory], Factory]:
    """Decorator: add a network of your own to the models that ``get_model`` and `model.backbone` take by name.

    Args:
        factory: a class or function called as ``factory(num_classes=…, in_channels=…, **arguments)``. It returns a
            module that maps float images (N, C, H, W) to logits (N, K), see ``lit_cnn.models``.
        name: of the model; by default the factory's own.
        image_size: side of the square input that figures are given for, pixels; by default one that the model accepts.
        **info: ``paper``, ``year``, ``in_channels``, ``num_classes`` and ``torchvision``, see ``ModelInfo``.

    Raises:
        UserError: the name is taken or is not of letters, digits and ``_.-``, a number is not one from 1 up, or the
            factory has no parameters ``num_classes`` and ``in_channels``.
    """

    def add(factory: Factory) -> Factory:
        key = _origin(factory)[1].rpartition(".")[2] if name is None else name
        if not re.fullmatch(r"[\w.-]+", key):
            raise UserError(f"register_model: {key!r} cannot be a model's name: give name= with letters, digits, _.-")
        missing = [p for p in ("num_classes", "in_channels") if not _accepts(factory, p)]
        if missing:
            parameters = "parameters" if len(missing) > 1 else "parameter"
            raise UserError(f"register_model: {key} must have the {parameters} {' and '.join(missing)}")
        numbers = {"image_size": image_size, **{k: v for k, v in info.items() if k in ("in_channels", "num_classes")}}
        try:
            check_int(**{k: v for k, v in numbers.items() if v is not None})
        except ValueError as error:
            raise UserError(f"register_model: {key}: {error}") from None
        add_models({key: ModelInfo(factory, image_size=image_size, **info)})
        return factory

    return add if factory is None else add(factory)


def arguments_of(factory: Callable[..., nn.Module]) -> list[str]:
    """Names of the keyword arguments of a factory; without those that a ``partial`` has bound by position."""
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return [name for name, p in signature(factory).parameters.items() if p.kind in kinds]


def takes_any_argument(factory: Callable[..., nn.Module]) -> bool:
    """Whether the factory has ``**kwargs``."""
    return any(p.kind is Parameter.VAR_KEYWORD for p in signature(factory).parameters.values())


def _accepts(factory: Callable[..., nn.Module], argument: str) -> bool:
    return argument in arguments_of(factory) or takes_any_argument(factory)


def _origin(factory: Callable[..., nn.Module]) -> tuple[str, str]:
    """Module and name of the definition behind a factory."""
    while isinstance(factory, partial):
        factory = factory.func
    return factory.__module__, getattr(factory, "__qualname__", type(factory).__qualname__)


def is_built_in(name: str) -> bool:
    """Whether the registered model of that name is this package's."""
    return _origin(MODELS[name].factory)[0].startswith("lit_cnn.")
