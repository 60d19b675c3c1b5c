"""Looking inside a network: for every layer its output, parameters, multiplications and receptive field.

One pass over shapes (the meta device), watching the tensor operations themselves; so it works for any model, whatever
its code looks like, and computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.models.fields import Field, hdc, image_field
from lit_cnn.models.sizes import explain, output_shape
from lit_cnn.models.trace import Trace


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
        line = explain(model, torch.empty(1, in_channels, height, width))
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
        kernels: side of each kernel.
        dilations: of each.
        m2: see ``lit_cnn.models.fields.hdc``.
        window: side of the window that a unit of the last one sees of the map in front of the first.
        holes: number of places in that window that it never sees.
    """

    layer: str
    kernels: tuple[int, ...]
    dilations: tuple[int, ...]
    m2: int
    window: int
    holes: int

    def paths(self) -> Tensor:
        """Number of ways from each place of the window to the unit, int64 (window, window)."""
        line = torch.ones(1, dtype=torch.int64)
        for kernel, dilation in zip(self.kernels, self.dilations, strict=True):
            longer = torch.zeros(len(line) + dilation * (kernel - 1), dtype=torch.int64)
            for tap in range(kernel):
                longer[tap * dilation : tap * dilation + len(line)] += line
            line = longer
        return line[:, None] * line


def dilated_stacks(layers: list[Layer]) -> list[Stack]:
    """The gridding check: every stack of convolutions that has a dilated one in it, as long as it goes."""
    chains: dict[tuple[tuple[int, int], ...], str] = {}
    for layer in layers:
        if layer.leaf and layer.field is not None and any(dilation > 1 for _, dilation in layer.field.chain):
            chains.setdefault(layer.field.chain, layer.name)
    stacks = []
    for chain, name in chains.items():
        if any(other[: len(chain)] == chain and len(other) > len(chain) for other in chains):
            continue
        kernels, dilations = zip(*chain, strict=True)
        window = 1 + sum(dilation * (kernel - 1) for kernel, dilation in chain)
        stack = Stack(name, kernels, dilations, hdc(dilations), window, 0)
        stacks.append(replace(stack, holes=int((stack.paths() == 0).sum())))
    return stacks


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

        return hook

    def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        layer = running.pop()
        layer.macs += trace.macs
        first = output if isinstance(output, Tensor) else next((o for o in output if isinstance(o, Tensor)), None)
        if first is not None:
            layer.output = tuple(first.shape[1:])
            layer.field = trace.field(first)
            layer.whole = layer.field is not None and 0 in layer.field.stride

    try:
        for name, module in model.named_modules():
            handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
        yield layers
    finally:
        for handle in handles:
            handle.remove()


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
