"""Receptive fields and multiply-accumulates (MACs) of a forward pass, traced operation by operation on shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lit_cnn.inspection.receptive_field import ReceptiveField, merge

aten = torch.ops.aten
Args = tuple[Any, ...]  # of an operation


class Trace(TorchDispatchMode):
    """Dispatch mode that propagates receptive fields and counts MACs while a model runs under it.

    Attributes:
        macs: multiply-accumulate operations so far.
        layer: name of the module that is running, set by the caller.
        undefined_because: why the receptive field was last undefined for an output, ``""`` if it was not; cleared by
            the caller.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.layer = ""
        self.undefined_because = ""
        # Tensors are kept, as an id could be reused for another one; on the meta device they hold no memory.
        self._fields: dict[int, tuple[Tensor, ReceptiveField | None]] = {}

    def track(self, tensor: Tensor, field: ReceptiveField | None) -> None:
        """Set the receptive field of a tensor: the input, or the output of an operation."""
        self._fields[id(tensor)] = tensor, field

    def receptive_field(self, tensor: Tensor) -> ReceptiveField | None:
        """Receptive field of the units of a tracked tensor, ``None`` if it is undefined or unknown."""
        return self._fields.get(id(tensor), (None, None))[1]

    def _is_tracked(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor) and id(tensor) in self._fields

    def __torch_dispatch__(self, op: Any, types: Any, args: Args = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = op(*args, **(kwargs or {}))
        first = out if isinstance(out, Tensor) else out[0] if isinstance(out, tuple | list) and len(out) else None
        if not isinstance(first, Tensor):
            return out
        self.macs += _macs(op, args, first)
        known = [a for a in _tensors(args) if self._is_tracked(a)]
        if known:
            field = self._after(op, args, known, first)
            if field is None and all(self.receptive_field(tensor) is not None for tensor in known):
                self.undefined_because = _undefined_because(op, known, first)
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, Tensor):
                    self.track(tensor, field)
        return out

    def _after(self, op: Any, args: Args, known: list[Tensor], out: Tensor) -> ReceptiveField | None:
        """Receptive field of ``op``'s output from those of its inputs; the last dimensions are rows and columns."""
        x = args[0]
        rule = _RULES.get(op.overloadpacket)
        if rule is not None and isinstance(x, Tensor) and x.dim() == 4:
            field = self.receptive_field(x)
            return None if field is None else rule(field, args, x, out, self.layer)
        fields = [field for tensor in known if (field := self.receptive_field(tensor)) is not None]
        if len(fields) < len(known):
            return None
        sizes = {tensor.shape[-2:] for tensor in known if tensor.dim() >= 4}
        if out.dim() >= 4 and sizes == {out.shape[-2:]}:
            return merge(fields)
        # Flattened, or each pixel scaled by a value computed from the entire map (squeeze and excitation).
        if out.dim() <= 2 or out.shape[-2:] == (1, 1) or (len(sizes) == 2 and (1, 1) in sizes):
            shapes = [tensor.shape[-2:] if tensor.dim() >= 4 else () for tensor in known]
            return merge([_all_of(field, shape) for field, shape in zip(fields, shapes, strict=True)])
        return None  # tokens, windows, other layouts: no longer a map of pixels


def _tensors(args: Any) -> Iterator[Tensor]:
    for arg in args:
        if isinstance(arg, Tensor):
            yield arg
        elif isinstance(arg, list | tuple):
            yield from _tensors(arg)


def _all_of(field: ReceptiveField, shape: tuple[int, ...]) -> ReceptiveField:
    """Receptive field of a unit that depends on every position of a map of this shape."""
    if 0 in field.stride or len(shape) != 2:
        return ReceptiveField(field.boxes, (0, 0))
    return field.taps((range(shape[0]), range(shape[1])), (0, 0))


def _pair(value: Any) -> tuple[int, int]:
    value = list(value) if isinstance(value, list | tuple) else [value]
    return (value[0], value[-1])


def _undefined_because(op: Any, known: list[Tensor], out: Tensor) -> str:
    """Why the receptive field of this output is undefined, though that of its inputs is defined."""
    name = op.overloadpacket.__name__
    if "upsample" in name or op.overloadpacket is aten.convolution:
        return "after up-sampling, neighbouring units have different receptive fields"
    if "adaptive" in name:
        return "adaptive pooling into windows of unequal size"
    if out.dim() == 4 and len(known) > 1:
        return f"maps of different strides, combined by {name}"
    if out.dim() == 4:
        return f"the map is rearranged by {name}"
    return "no longer a map of pixels, but a sequence, windows or the like"


def _convolution(field: ReceptiveField, args: Args, x: Tensor, out: Tensor, layer: str) -> ReceptiveField | None:
    weight, stride, padding, dilation, transposed = args[1], args[3], args[4], args[5], args[6]
    if transposed:
        return None
    return field.convolved(_pair(weight.shape[2:]), _pair(stride), _pair(padding), _pair(dilation), layer)


def _pool(field: ReceptiveField, args: Args, x: Tensor, out: Tensor, layer: str) -> ReceptiveField:
    kernel = args[1]
    stride = args[2] if len(args) > 2 and args[2] else kernel
    padding = args[3] if len(args) > 3 else 0
    # Only max-pooling has a dilation in this position; average pooling has its rounding mode there.
    dilation = args[4] if len(args) > 4 and isinstance(args[4], list) else 1
    return field.convolved(_pair(kernel), _pair(stride), _pair(padding), _pair(dilation))


def _adaptive(field: ReceptiveField, args: Args, x: Tensor, out: Tensor, layer: str) -> ReceptiveField | None:
    if x.shape[2:] == out.shape[2:]:
        return field
    if out.shape[2:] == (1, 1):
        return _all_of(field, tuple(x.shape[2:]))
    if x.shape[2] % out.shape[2] or x.shape[3] % out.shape[3]:
        return None  # windows of unequal size
    kernel = (x.shape[2] // out.shape[2], x.shape[3] // out.shape[3])
    return field.convolved(kernel, kernel, (0, 0), (1, 1))


def _reduce(field: ReceptiveField, args: Args, x: Tensor, out: Tensor, layer: str) -> ReceptiveField:
    return _all_of(field, tuple(x.shape[2:]))


def _slice(field: ReceptiveField, args: Args, x: Tensor, out: Tensor, layer: str) -> ReceptiveField:
    dim, start, step = args[1] % 4, args[2] if len(args) > 2 else 0, args[4] if len(args) > 4 else 1
    if dim < 2:
        return field
    offset, stride = [0, 0], [1, 1]
    offset[dim - 2], stride[dim - 2] = start or 0, step
    return field.taps(([offset[0]], [offset[1]]), (stride[0], stride[1]))


def _pad(field: ReceptiveField, args: Args, x: Tensor, out: Tensor, layer: str) -> ReceptiveField:
    left, _, top, _ = (*args[1], 0, 0, 0, 0)[:4]
    return field.taps(([-top], [-left]), (1, 1))


def _permute(field: ReceptiveField, args: Args, x: Tensor, out: Tensor, layer: str) -> ReceptiveField | None:
    return field if list(args[1])[-2:] == [2, 3] else None


_RULES: dict[Any, Callable[[ReceptiveField, Args, Tensor, Tensor, str], ReceptiveField | None]] = {
    aten.convolution: _convolution,
    aten.max_pool2d_with_indices: _pool,
    aten.avg_pool2d: _pool,
    aten._adaptive_avg_pool2d: _adaptive,
    aten.adaptive_max_pool2d: _adaptive,
    aten.mean: _reduce,
    aten.amax: _reduce,
    aten.slice: _slice,
    aten.constant_pad_nd: _pad,
    aten.permute: _permute,
    aten.transpose: lambda field, args, x, out, layer: None,
}


def _macs(op: Any, args: Args, out: Tensor) -> int:
    """Multiply-accumulate operations of one call; elementwise operations are not counted, as in papers."""
    packet = op.overloadpacket
    if packet is aten.convolution:
        x, weight = args[0], args[1]
        # A transposed convolution multiplies each input, a convolution makes each output.
        return (x if args[6] else out).numel() * weight[0].numel()
    if packet in (aten.mm, aten.bmm):
        return out.numel() * args[0].shape[-1]
    if packet in (aten.addmm, aten.baddbmm):
        return out.numel() * args[1].shape[-1]
    if "scaled_dot_product" in str(packet):
        query, key, value = args[:3]
        return math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    return 0
