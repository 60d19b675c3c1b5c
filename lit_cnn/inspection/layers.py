"""Looking inside a network: for every layer its output, parameters, multiplications and receptive field.

One pass over shapes (the meta device), watching the tensor operations themselves; so it works for any model, whatever
its code looks like, and computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.inspection.receptive_field import Chain, Field, hdc, image_field
from lit_cnn.inspection.trace import Trace
from lit_cnn.models._input_check import input_error, output_shape
from lit_cnn.nn.reference.conv import HandConv2d
from lit_cnn.nn.reference.window import borders


@dataclass
class Layer:
    """One call of one module.

    Attributes:
        name: its path in the model, ``""`` for the model itself.
        kind: name of its class, with kernel, stride, padding, dilation and groups for a convolution or pooling.
        depth: 0 for the model, 1 for its children, …
        leaf: it has no children.
        output: shape of its output, without the batch.
        parameters: in it and its children.
        macs: multiply-accumulate operations for one image, in it and its children.
        field: receptive field of its output, ``None`` where that is not defined or not known.
        whole: every output depends on the whole image (after global pooling or flattening).
        lost: why ``field`` is not defined here, in the first layer where it is not; else ``""``.
    """

    name: str
    kind: str
    depth: int
    leaf: bool
    output: tuple[int, ...] = ()
    parameters: int = 0
    macs: int = 0
    field: Field | None = None
    whole: bool = False
    lost: str = ""


def inspect_layers(model: nn.Module, image_size: int | tuple[int, int], in_channels: int = 3) -> list[Layer]:
    """Return one ``Layer`` per module call, the model first, then in the order they are called, in eval mode.

    Raises:
        UserError: the model does not take images of this size.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    was_training = [(module, module.training) for module in model.modules()]
    model.eval()
    trace = Trace()
    try:
        with _calls(model, trace) as layers, trace:
            output_shape(model, 1, in_channels, height, width)
    except Exception:
        line = input_error(model, torch.empty(1, in_channels, height, width))
        if line:
            raise UserError(line) from None
        raise
    finally:
        for module, was in was_training:
            module.training = was
    return layers


@dataclass(frozen=True)
class Stack:
    """Successive convolutions without a change of size in between, some of them dilated.

    Attributes:
        layer: name of the last one.
        chains: along rows and along columns, those whose kernel is longer than 1 that way.
        stride: distance in input pixels, along rows and columns, of the places of the map in front of the first one;
            (1, 1) where that map's places are pixels.
        image_holes: number of input pixels inside the window of the last one's receptive field that it never sees.
    """

    layer: str
    chains: tuple[Chain, Chain]
    stride: tuple[int, int]
    image_holes: int

    @property
    def first(self) -> str:
        """Name of the first convolution."""
        return next(chain[0].layer for chain in sorted(self.chains, key=len, reverse=True))

    @property
    def m2(self) -> tuple[int | None, int | None]:
        """M2 of the HDC rule along rows and columns, see ``lit_cnn.inspection.receptive_field.hdc``.

        ``None`` along an axis without dilation, or with one convolution only: there is no second to fill its gaps.
        """
        rows, columns = ([link.dilation for link in chain] for chain in self.chains)
        return _m2(rows), _m2(columns)

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of what a unit of the last one sees of the map in front of the first, holes included."""
        rows, columns = self.paths().shape
        return rows, columns

    @property
    def missed(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows and columns of the window that are never seen. A place is seen if neither its row nor column is here."""
        rows, columns = (tuple((_ways(chain) == 0).nonzero().flatten().tolist()) for chain in self.chains)
        return rows, columns

    @property
    def holes(self) -> int:
        """Number of places of the window that are never seen."""
        return int((self.paths() == 0).sum())

    def paths(self) -> Tensor:
        """Number of ways from each place of the window to the unit, int64 (height, width)."""
        rows, columns = self.chains
        return _ways(rows)[:, None] * _ways(columns)


def _m2(dilations: list[int]) -> int | None:
    return hdc(dilations) if len(dilations) > 1 and max(dilations) > 1 else None


def _ways(chain: Chain) -> Tensor:
    """Number of ways from each place along one axis to the unit, int64 (side,)."""
    line = torch.ones(1, dtype=torch.int64)
    for link in chain:
        longer = torch.zeros(len(line) + link.dilation * (link.kernel - 1), dtype=torch.int64)
        for tap in range(link.kernel):
            longer[tap * link.dilation : tap * link.dilation + len(line)] += line
        line = longer
    return line


def dilated_stacks(layers: list[Layer]) -> list[Stack]:
    """The gridding check: every stack of convolutions that has a dilated one in it, as long as it goes.

    Of stacks with the same kernels and dilations behind the same stride, as repeated blocks have them, the first.
    """
    found: list[Stack] = []
    for layer in layers:
        field = layer.field
        if not layer.leaf or field is None or not any(link.dilation > 1 for chain in field.chains for link in chain):
            continue
        found.append(Stack(layer.name, field.chains, field.stride, field.holes))
    whole = [stack for stack in found if not any(_begins(stack, other) for other in found)]
    alike = {(_shape(stack.chains), stack.stride): stack for stack in reversed(whole)}
    return list(reversed(alike.values()))


def _begins(stack: Stack, other: Stack) -> bool:
    """Whether ``other`` goes on where ``stack`` ends."""
    same = all(long[: len(short)] == short for short, long in zip(stack.chains, other.chains, strict=True))
    return same and stack.chains != other.chains


def _shape(chains: tuple[Chain, Chain]) -> tuple[tuple[tuple[int, int], ...], ...]:
    return tuple(tuple((link.kernel, link.dilation) for link in chain) for chain in chains)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model without memory for its weights."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:  # it reads numbers of its own while it is built, as torchvision's RegNets do
        return build().to("meta")


@contextmanager
def _calls(model: nn.Module, trace: Trace) -> Iterator[list[Layer]]:
    """Record every module call, and what the operations inside it cost."""
    layers: list[Layer] = []
    running: list[Layer] = []
    handles = []

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            parameters = sum(p.numel() for p in module.parameters())
            depth = name.count(".") + 1 if name else 0
            layer = Layer(name, _describe(module), depth, not any(module.children()), parameters=parameters)
            layer.macs = -trace.macs
            if not name and inputs:
                trace.see(inputs[0], image_field())
            layers.append(layer)
            running.append(layer)
            trace.layer = name

        return hook

    def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        layer = running.pop()
        layer.macs += trace.macs
        trace.layer = running[-1].name if running else ""
        if isinstance(module, HandConv2d) and (field := trace.field(inputs[0])) is not None:
            # Written out in slices and products, which say nothing of their own about pixels.
            trace.see(output, _by_hand(module, field, layer.name))
            trace.lost = ""
        first = output if isinstance(output, Tensor) else next((o for o in output if isinstance(o, Tensor)), None)
        if first is not None:
            layer.output = tuple(first.shape[1:])
            layer.field = trace.field(first)
            layer.whole = layer.field is not None and 0 in layer.field.stride
            if layer.field is None:
                layer.lost, trace.lost = trace.lost, ""

    try:
        for name, module in model.named_modules():
            handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
        yield layers
    finally:
        for handle in handles:
            handle.remove()


def _by_hand(conv: HandConv2d, field: Field, layer: str) -> Field:
    kernel, stride, dilation = _two(conv.kernel_size), _two(conv.stride), _two(conv.dilation)
    (top, _), (left, _) = borders(conv.padding, kernel, stride, dilation)
    return field.convolved(kernel, stride, (top, left), dilation, layer)


def _two(pair: tuple[int, ...]) -> tuple[int, int]:
    return pair[0], pair[1]


def _describe(module: nn.Module) -> str:
    kernel = getattr(module, "kernel_size", None)
    if kernel is None:
        return type(module).__name__
    name = type(module).__name__
    pieces = [f"{name} {_side(kernel)}"]
    for word, attribute, usual in (("s", "stride", 1), ("p", "padding", 0), ("d", "dilation", 1), ("g", "groups", 1)):
        value = getattr(module, attribute, usual)
        if value not in (usual, (usual, usual), None):
            pieces.append(f"{word}{_short(value)}")
    return " ".join(pieces)


def _side(value: Any) -> str:
    return f"{value}x{value}" if isinstance(value, int) else "x".join(str(v) for v in value)


def _short(value: Any) -> str:
    return str(value[0]) if isinstance(value, tuple) and len(set(value)) == 1 else str(value).replace(" ", "")
