"""Lists of tensors, and copies between host and device, without waiting for a GPU's queue of kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def group_by_dtype(*lists: Sequence[Tensor]) -> list[tuple[list[Tensor], ...]]:
    """Split parallel lists into groups whose tensors have one device and dtype.

    The ``torch._foreach`` functions have one kernel for such a list, and else one for each tensor.
    """
    groups: dict[object, tuple[list[Tensor], ...]] = {}
    for row in zip(*lists, strict=True):
        kind = tuple((tensor.device, tensor.dtype) for tensor in row)
        for column, tensor in zip(groups.setdefault(kind, tuple([] for _ in row)), row, strict=True):
            column.append(tensor)
    return list(groups.values())


def copy_all_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy tensors to others of the same shapes, in place."""
    for there, here in group_by_dtype(targets, sources):
        torch._foreach_copy_(there, here)


def all_finite(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Whether floating-point tensors hold neither NaN nor infinity: one bool scalar for each device and dtype."""
    return [torch.isfinite(torch.stack(torch._foreach_norm(group))).all() for (group,) in group_by_dtype(tensors)]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to ``device``; a GPU goes on with its queue meanwhile."""
    if device.type == "cuda":  # from pageable memory the copy would block
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class HostCopy:
    """A copy of a tensor in the CPU's memory, which is read later without waiting for what was queued after it.

    Args:
        tensor: on any device.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._event = tensor, None
        if tensor.device.type == "cuda":
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.current_stream(tensor.device).record_event()

    def read(self) -> Tensor:
        """The copy, once it is complete."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensor
