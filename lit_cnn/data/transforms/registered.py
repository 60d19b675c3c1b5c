"""Augmentation transforms of the user, registered by name, with random numbers that repeat exactly on resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar, overload

import torch
from torch import Tensor

from lit_cnn import plugins
from lit_cnn.data.transforms.policies import make_policy
from lit_cnn.data.transforms.rng import counter_bits
from lit_cnn.errors import UserError
from lit_cnn.utils.random import seed_generators
from lit_cnn.utils.registry import Registry

Transform = Callable[[Tensor], Tensor]
Factory = TypeVar("Factory", bound=Callable[..., Transform])

TRANSFORMS = Registry("transform", "data.augment.transform", load_more=plugins.import_plugins)


@overload
def register_transform(factory: Factory) -> Factory: ...
@overload
def register_transform(*, name: str) -> Callable[[Factory], Factory]: ...
def register_transform(
    factory: Factory | None = None, *, name: str | None = None
) -> Factory | Callable[[Factory], Factory]:
    """Decorator: register an augmentation transform, for ``augment.transform`` of every data set.

    ::

        @register_transform
        def heavy(magnitude: int = 9):
            return torchvision.transforms.v2.RandAugment(magnitude=magnitude)

    In a config: ``augment: {transform: heavy, transform_args: {magnitude: 5}}``.

    The transform is applied to one training image after the other: uint8 (C, H, W) on the device of the run, after
    random resized cropping and before all other augmentation. It must return the same shape and dtype. For each image
    torch's generators are seeded from (seed, epoch, sample index), so the result depends neither on the batch size nor
    on where a run was resumed. It must not use other sources of random numbers (``random``, NumPy), nor keep a state.

    Args:
        factory: Function or class that returns a transform, such as one of torchvision.transforms.v2; its keyword
            arguments come from ``augment.transform_args``.
        name: Another name than the factory's own.

    Raises:
        UserError: The name is taken.
    """
    register: Any = TRANSFORMS.register
    return register(factory) if name is None else register(name=name)


def build_transform(name: str, args: dict[str, Any] | None) -> Transform:
    """Return the transform registered under ``name``, made with keyword arguments ``args``.

    Raises:
        UserError: There is none of that name, or it cannot be made with these arguments.
    """
    factory = TRANSFORMS[name]
    try:
        return _built(factory, json.dumps(args or {}, sort_keys=True))
    except Exception as error:
        raise UserError(
            f"`data.augment.transform` {name!r} cannot be made with {args or {}}: {_line(error)}"
        ) from error


def build_policy(name: str, args: dict[str, Any] | None) -> Transform:
    """Return an augmentation policy of torchvision, see ``policies.make_policy``."""
    return _policy(name, json.dumps(args or {}, sort_keys=True))


@lru_cache(maxsize=16)
def _policy(name: str, args: str) -> Transform:
    policy: Transform = make_policy(name, json.loads(args))
    return policy


@lru_cache(maxsize=16)
def _built(factory: Callable[..., Transform], args: str) -> Transform:
    transform = factory(**json.loads(args))
    if not callable(transform):
        raise TypeError(f"it returned a {type(transform).__name__}, not a transform")
    return transform


def transform_samples(
    image: Tensor, index: Tensor, transform: Transform, setting: str, name: str, seed: int, epoch: int
) -> Tensor:
    """Apply a transform of single images to every image of a batch.

    Args:
        image: (N, C, H, W), uint8 or float in [0, 255], which is rounded to uint8.
        index: int64 (N,), the samples' indices.
        transform: From uint8 (C, H, W) to the same, with random numbers of torch's generators.
        setting: Of `data.augment`, for messages and as the name of the operation that random numbers are drawn for.
        name: Name of the transform, for messages.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.

    Returns:
        uint8 (N, C, H, W).

    Raises:
        UserError: The transform fails, or changes the shape or dtype; the message names it.
    """
    if image.dtype != torch.uint8:
        image = image.round().clamp(0, 255).to(torch.uint8)
    seeds = counter_bits(seed, epoch, index, [setting])[0] & ((1 << 63) - 1)
    results = []
    with _generators_kept(image.device):
        for sample, sample_seed, number in zip(image, seeds.tolist(), index.tolist(), strict=True):
            seed_generators(sample_seed, image.device)
            try:
                result = transform(sample)
            except Exception as error:
                raise UserError(
                    f"`data.augment.{setting}` {name!r} failed on training image {number}, "
                    f"{sample.dtype} {tuple(sample.shape)}: {_line(error)}"
                ) from error
            if not isinstance(result, Tensor) or (result.shape, result.dtype) != (sample.shape, sample.dtype):
                got = f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
                raise UserError(
                    f"`data.augment.{setting}` {name!r} turned an image of {sample.dtype} {tuple(sample.shape)} into "
                    f"{got}: it must keep shape and dtype"
                )
            results.append(result)
    return torch.stack(results)


@contextmanager
def _generators_kept(device: torch.device) -> Iterator[None]:
    """Restore the states of the generators that ``seed_generators`` seeds."""
    cpu = torch.default_generator.get_state()
    module = None if device.type == "cpu" else torch.get_device_module(device)
    state = None if module is None else module.get_rng_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(cpu)
        if module is not None:
            module.set_rng_state(state)


def _line(error: Exception) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
