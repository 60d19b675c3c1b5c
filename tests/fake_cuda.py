"""A CUDA device that computes nothing, on machines without one: counts what would make a training step wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten
# results depend on values, so that the host needs them before it can go on
READS = {
    aten._local_scalar_dense, aten.equal, aten.is_nonzero, aten.nonzero, aten.masked_select, aten._unique2,
    aten.unique_dim, aten.unique_consecutive, aten.bincount,
}  # fmt: skip
UPDATES = {aten._fused_sgd_, aten._fused_adamw_}  # in place; fake tensors do not have them
COPIES = {aten._to_copy, aten.copy_, aten._foreach_copy_}


class WaitCounter(TorchDispatchMode):
    """Runs CPU tensors as they are and those of the GPU as fake ones.

    Attributes:
        reads: operations that read values of the GPU back.
        copies: blocking copies between the two. A copy between pinned memory and the GPU does not block if it is asked
            not to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.copies: list[str] = []
        self._pinned: dict[int, Tensor] = {}  # by address, which being kept makes unique

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        on_gpu = any(isinstance(leaf, FakeTensor) and leaf.device.type == "cuda" for leaf in tensors)
        target = kwargs.get("device")
        to_gpu = target is not None and torch.device(target).type == "cuda"
        packet = func.overloadpacket
        if not on_gpu and not (to_gpu and tensors == []) and not (to_gpu and packet in COPIES):
            return self._on_cpu(func, packet, args, kwargs)
        if on_gpu and packet in READS:
            self.reads.append(str(func))
            if packet is aten._local_scalar_dense:  # any value will do, but a flag has to be a good one
                return True if tensors[0].dtype == torch.bool else 1.0
        self._note_copy(func, packet, tensors, leaves, target)
        if packet in UPDATES:
            return None
        if packet is aten.copy_ and args[0].device.type == "cpu":
            with unset_fake_temporarily():
                return args[0].fill_(1)  # for any value of the GPU
        out = func(*args, **kwargs)
        if packet is aten._to_copy and out.device.type == "cpu":
            with unset_fake_temporarily():
                return torch.ones(out.shape, dtype=out.dtype)
        return out

    def _on_cpu(self, func: Any, packet: Any, args: Any, kwargs: Any) -> Any:
        with unset_fake_temporarily():
            if packet is aten.is_pinned:
                return args[0].data_ptr() in self._pinned
            pinned = packet is aten._pin_memory or bool(kwargs.get("pin_memory"))
            if packet is aten._pin_memory:
                out = args[0].clone()
            else:
                out = func(*args, **({**kwargs, "pin_memory": False} if pinned else kwargs))
            if pinned:
                self._pinned[out.data_ptr()] = out
            return out

    def _note_copy(self, func: Any, packet: Any, tensors: list[Any], leaves: list[Any], target: Any) -> None:
        kinds = {tensor.device.type for tensor in tensors}
        if packet in COPIES:
            kinds |= {torch.device(target).type} if target is not None else set()
            host = [tensor for tensor in tensors if tensor.device.type == "cpu"]
            background = (
                any(leaf is True for leaf in leaves) and host and all(t.data_ptr() in self._pinned for t in host)
            )
            if len(kinds) > 1 and not background:
                self.copies.append(f"{func} {[tuple(tensor.shape) for tensor in tensors]}")
        elif any(
            tensor.device.type == "cpu" and tensor.ndim for tensor in tensors
        ):  # a scalar is an argument of a kernel
            self.copies.append(f"{func} {[tuple(tensor.shape) for tensor in tensors]}")


@contextmanager
def fake_cuda() -> Iterator[WaitCounter]:
    """Let tensors on ``cuda`` be fake ones, and count what waits for them."""
    counter = WaitCounter()
    with (
        mock.patch("torch.cuda.current_stream"),  # whose events are complete at once
        FakeTensorMode(allow_non_fake_inputs=True),
        counter,
    ):
        yield counter
