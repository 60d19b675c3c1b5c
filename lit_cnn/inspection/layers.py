"""Layer by layer: output shape, parameters, multiply-accumulates (MACs) and receptive field of a network.

One forward pass on the meta device under a trace of the tensor operations: it works for any model and computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.inspection.receptive_field import ReceptiveField, image_field
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
        receptive_field: of its output, ``None`` where it is undefined or unknown.
        whole_image: every output depends on the entire image (after global pooling or flattening).
        undefined_because: why ``receptive_field`` is undefined, in the first layer where it is; else ``""``.
    """

    name: str
    kind: str
    depth: int
    leaf: bool
    output: tuple[int, ...] = ()
    parameters: int = 0
    macs: int = 0
    receptive_field: ReceptiveField | None = None
    whole_image: bool = False
    undefined_because: str = ""


def inspect_layers(model: nn.Module, image_size: int | tuple[int, int], in_channels: int = 3) -> list[Layer]:
    """Return one ``Layer`` per module call in eval mode, the model first, then in the order of the calls.

    Args:
        model: any network for float images (N, C, H, W); its weights and modes do not change.
        image_size: side of the square image, or (height, width), in pixels.
        in_channels: C.

    Raises:
        UserError: the model does not accept images of this size.
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


@contextmanager
def _calls(model: nn.Module, trace: Trace) -> Iterator[list[Layer]]:
    """Record every module call with the MACs inside it and the receptive field of its output."""
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
                trace.track(inputs[0], image_field())
            layers.append(layer)
            running.append(layer)
            trace.layer = name

        return hook

    def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        layer = running.pop()
        layer.macs += trace.macs
        trace.layer = running[-1].name if running else ""
        if isinstance(module, HandConv2d) and (field := trace.receptive_field(inputs[0])) is not None:
            # Slices and matrix products, from which no receptive field can be derived.
            trace.track(output, _of_hand_conv(module, field, layer.name))
            trace.undefined_because = ""
        first = output if isinstance(output, Tensor) else _first_tensor(output)
        if first is not None:
            layer.output = tuple(first.shape[1:])
            layer.receptive_field = trace.receptive_field(first)
            layer.whole_image = layer.receptive_field is not None and 0 in layer.receptive_field.stride
            if layer.receptive_field is None:
                layer.undefined_because, trace.undefined_because = trace.undefined_because, ""

    try:
        for name, module in model.named_modules():
            handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
        yield layers
    finally:
        for handle in handles:
            handle.remove()


def _first_tensor(outputs: Any) -> Tensor | None:
    several = outputs if isinstance(outputs, (tuple, list)) else ()
    return next((output for output in several if isinstance(output, Tensor)), None)


def _of_hand_conv(conv: HandConv2d, field: ReceptiveField, layer: str) -> ReceptiveField:
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
