"""Compare nested training state bit for bit: its leaves, a content hash, and what differs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def leaves(state: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings and sequences with their paths, such as ``state_dict/conv1.weight``.

    An empty container is a leaf too, so that two states of different shape have different leaves.
    """
    items: Any = None
    if isinstance(state, Mapping):
        items = state.items()
    elif isinstance(state, (list, tuple)):
        items = enumerate(state)
    if not items:
        yield path, state
        return
    for key, value in items:
        yield from leaves(value, f"{path}/{key}" if path else str(key))


def content_hash(state: Any) -> str:
    """SHA-256 over all leaves: paths, types and values, tensors by dtype, shape and bytes (hexadecimal)."""
    hasher = hashlib.sha256()
    for path, leaf in leaves(state):
        if isinstance(leaf, Tensor):
            plain = leaf.detach().cpu().contiguous()
            hasher.update(f"{path}\0{plain.dtype}{tuple(plain.shape)}\0".encode())
            if plain.numel():  # viewed as bytes: numpy has no bfloat16
                hasher.update(plain.reshape(-1).view(torch.uint8).numpy().data)
        else:
            hasher.update(f"{path}\0{type(leaf).__name__}\0{leaf!r}\0".encode())
    return hasher.hexdigest()


def differences(first: Any, second: Any) -> Iterator[str]:
    """Yield one line for every leaf that is not the same in both, bit for bit."""
    a, b = (dict(leaves(state)) for state in (first, second))
    for path in [*a, *(path for path in b if path not in a)]:
        if path not in a or path not in b:
            yield f"{path} is only in the {'second' if path not in a else 'first'}"
        elif isinstance(a[path], Tensor) and isinstance(b[path], Tensor):
            if content_hash(a[path]) != content_hash(b[path]):
                yield f"{path} {_distance(a[path], b[path])}"
        elif not (a[path] == b[path] or repr(a[path]) == repr(b[path])):  # nan equals nan here
            yield f"{path}: {a[path]!r} and {b[path]!r}"


def _distance(a: Tensor, b: Tensor) -> str:
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"is {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
    unequal = int((a != b).sum())
    largest = (a.double() - b.double()).abs().max().item()
    return f"differs in {unequal} of {a.numel()} values, by at most {largest:.3g}"
