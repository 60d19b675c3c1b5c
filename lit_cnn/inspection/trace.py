"""Following tensors through a forward pass on shapes alone: where each value comes from and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lit_cnn.inspection.receptive_field import Field, merge

aten = torch.ops.aten


class Trace(TorchDispatchMode):
    """Carries receptive fields from tensor to tensor while a model runs under it, and adds up multiplications.

    Attributes:
        macs: multiply-accumulate operations so far.
        layer: name of the module that is running, to be set from outside.
        lost: why a field was last lost, ``""`` if none was; to be cleared from outside.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.layer = ""
        self.lost = ""
        # Tensors are kept, or an id could come back for another one; on the meta device they hold no memory.
        self._fields: dict[int, tuple[Tensor, Field | None]] = {}

    def see(self, tensor: Tensor, field: Field | None) -> None:
        """Start from, or go on with, a tensor of known field."""
        self._fields[id(tensor)] = tensor, field

    def field(self, tensor: Tensor) -> Field | None:
        """Field of the units of a tensor that was made under this trace, ``None`` if it is not defined or known."""
        return self._fields.get(id(tensor), (None, None))[1]

    def _knows(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor) and id(tensor) in self._fields

    def __torch_dispatch__(self, op: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = op(*args, **(kwargs or {}))
        first = out if isinstance(out, Tensor) else out[0] if isinstance(out, tuple | list) and len(out) else None
        if not isinstance(first, Tensor):
            return out
        self.macs += _macs(op, args, first)
        known = [a for a in _tensors(args) if self._knows(a)]
        if known:
            field = self._after(op, args, known, first)
            if field is None and all(self.field(tensor) is not None for tensor in known):
                self.lost = _why(op, known, first)
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, Tensor):
                    self.see(tensor, field)
        return out

    def _after(self, op: Any, args: tuple, known: list[Tensor], out: Tensor) -> Field | None:
        """Field of ``op``'s output, from those of its inputs; the last two dimensions are rows and columns."""
        x = args[0]
        rule = _RULES.get(op.overloadpacket)
        if rule is not None and isinstance(x, Tensor) and x.dim() == 4:
            field = self.field(x)
            return None if field is None else rule(field, args, x, out, self.layer)
        fields = [field for tensor in known if (field := self.field(tensor)) is not None]
        if len(fields) < len(known):
            return None
        sizes = {tensor.shape[-2:] for tensor in known if tensor.dim() >= 4}
        if out.dim() >= 4 and sizes == {out.shape[-2:]}:
            return merge(fields)
        # Flattened, or each pixel scaled by a value drawn from the whole map (squeeze and excitation).
        if out.dim() <= 2 or out.shape[-2:] == (1, 1) or (len(sizes) == 2 and (1, 1) in sizes):
            shapes = [tensor.shape[-2:] if tensor.dim() >= 4 else () for tensor in known]
            return merge([_all_of(field, shape) for field, shape in zip(fields, shapes, strict=True)])
        return None  # tokens, windows, other layouts: not a map of pixels any more


def _tensors(args: Any) -> Iterator[Tensor]:
    for arg in args:
        if isinstance(arg, Tensor):
            yield arg
        elif isinstance(arg, list | tuple):
            yield from _tensors(arg)


def _all_of(field: Field, shape: tuple[int, ...]) -> Field:
    """Field of a unit that depends on every place of a map of this shape."""
    if 0 in field.stride or len(shape) != 2:
        return Field(field.boxes, (0, 0))
    return field.taps((range(shape[0]), range(shape[1])), (0, 0))


def _pair(value: Any) -> tuple[int, int]:
    value = list(value) if isinstance(value, list | tuple) else [value]
    return (value[0], value[-1])


def _why(op: Any, known: list[Tensor], out: Tensor) -> str:
    """Why the field of this output is not defined, though that of its inputs is."""
    name = op.overloadpacket.__name__
    if "upsample" in name or op.overloadpacket is aten.convolution:
        return "after up-sampling, neighbouring units differ in what they see, so that no one field holds for all"
    if "adaptive" in name:
        return "adaptive pooling into windows of unequal size"
    if out.dim() == 4 and len(known) > 1:
        return f"maps whose units do not lie at the same places, joined by {name}"
    if out.dim() == 4:
        return f"the map is laid out anew by {name}"
    return "no map of pixels any more, but a sequence, windows or the like"


def _convolution(field: Field, args: tuple, x: Tensor, out: Tensor, layer: str) -> Field | None:
    weight, stride, padding, dilation, transposed = args[1], args[3], args[4], args[5], args[6]
    if transposed:
        return None
    return field.convolved(_pair(weight.shape[2:]), _pair(stride), _pair(padding), _pair(dilation), layer)


def _pool(field: Field, args: tuple, x: Tensor, out: Tensor, layer: str) -> Field:
    kernel = args[1]
    stride = args[2] if len(args) > 2 and args[2] else kernel
    padding = args[3] if len(args) > 3 else 0
    # A dilation follows in max-pooling only, where average pooling has its rounding mode.
    dilation = args[4] if len(args) > 4 and isinstance(args[4], list) else 1
    return field.convolved(_pair(kernel), _pair(stride), _pair(padding), _pair(dilation))


def _adaptive(field: Field, args: tuple, x: Tensor, out: Tensor, layer: str) -> Field | None:
    if x.shape[2:] == out.shape[2:]:
        return field
    if out.shape[2:] == (1, 1):
        return _all_of(field, tuple(x.shape[2:]))
    if x.shape[2] % out.shape[2] or x.shape[3] % out.shape[3]:
        return None  # windows of unequal size
    kernel = (x.shape[2] // out.shape[2], x.shape[3] // out.shape[3])
    return field.convolved(kernel, kernel, (0, 0), (1, 1))


def _reduce(field: Field, args: tuple, x: Tensor, out: Tensor, layer: str) -> Field:
    return _all_of(field, tuple(x.shape[2:]))


def _slice(field: Field, args: tuple, x: Tensor, out: Tensor, layer: str) -> Field:
    dim, start, step = args[1] % 4, args[2] if len(args) > 2 else 0, args[4] if len(args) > 4 else 1
    if dim < 2:
        return field
    offset, stride = [0, 0], [1, 1]
    offset[dim - 2], stride[dim - 2] = start or 0, step
    return field.taps(([offset[0]], [offset[1]]), (stride[0], stride[1]))


def _pad(field: Field, args: tuple, x: Tensor, out: Tensor, layer: str) -> Field:
    left, _, top, _ = (*args[1], 0, 0, 0, 0)[:4]
    return field.taps(([-top], [-left]), (1, 1))


def _permute(field: Field, args: tuple, x: Tensor, out: Tensor, layer: str) -> Field | None:
    return field if list(args[1])[-2:] == [2, 3] else None


_RULES: dict[Any, Callable[[Field, tuple, Tensor, Tensor, str], Field | None]] = {
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


def _macs(op: Any, args: tuple, out: Tensor) -> int:
    """Multiply-accumulate operations of one call; elementwise work is not counted, as in papers."""
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
