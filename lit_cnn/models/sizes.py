"""Which input sizes a network accepts: found by running it on shapes alone (the meta device), never guessed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lit_cnn.errors import UserError

# Tried in this order. The odd ones are for networks that take exactly one size (vision transformers).
_TRIED = (*(2**i for i in range(11)), 224, 227, 240, 256, 288, 299, 320, 336, 384, 448, 480, 512, 518, 600)


def output_shape(model: nn.Module, *shape: int) -> torch.Size:
    """Shape of ``model``'s first output for a float input of ``shape``, in the mode the model is in.

    Nothing is computed and nothing in the model changes: parameters and buffers are stood in for by the meta device.

    Raises:
        Exception: whatever the forward pass raises for this shape.
    """
    stand_ins = {name: t.to("meta") for name, t in model.named_parameters()}
    stand_ins |= {name: t.to("meta") for name, t in model.named_buffers()}
    dtype = next((t.dtype for t in stand_ins.values() if t.is_floating_point()), torch.float32)
    with torch.no_grad():
        out = functional_call(model, stand_ins, (torch.empty(shape, device="meta", dtype=dtype),))
    return (out if isinstance(out, Tensor) else out[0]).shape


@contextmanager
def _with_auxiliary_heads(model: nn.Module) -> Iterator[None]:
    """Hold ``model`` in training mode, so that auxiliary heads run, then put every module back as it was.

    Batch norms stay in eval mode: they do not change shapes, and on the meta device their training is 5 times as slow.
    """
    before = [(module, module.training) for module in model.modules()]
    for module, _ in before:
        module.training = not isinstance(module, nn.modules.batchnorm._BatchNorm)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


def first_layer(model: nn.Module) -> nn.Conv2d | None:
    """The convolution that sees the image: the first one registered."""
    return next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)


def _fits(model: nn.Module, channels: int) -> Callable[[int], bool]:
    """Return the predicate "a square image of this side goes through", in the model's current mode."""
    # A dense layer on a feature map takes one map size, so failing does not say on which side of it an input lies.
    # Such networks name that size in `image_size`, and the map itself tells which side.
    features, image_size = getattr(model, "features", None), getattr(model, "image_size", None)
    if isinstance(features, nn.Module) and isinstance(image_size, int):
        wanted = output_shape(features, 2, channels, image_size, image_size)[-1]

        def fits(size: int) -> bool:
            try:
                return output_shape(features, 2, channels, size, size)[-1] >= wanted
            except Exception:
                return False

    else:

        def fits(size: int) -> bool:
            try:
                output_shape(model, 2, channels, size, size)
            except Exception:
                return False
            return True

    return fits


def smallest_input(model: nn.Module, in_channels: int | None = None) -> int:
    """Side in pixels of the smallest square image that ``model`` accepts, in training mode as well as in eval mode.

    Found by bisection over forward passes without data, so the deepest network here, DenseNet-264, takes 1.3 s.

    Raises:
        UserError: no size up to 1024 pixels goes through.
    """
    if in_channels is None:
        layer = first_layer(model)
        in_channels = layer.in_channels if layer is not None else 3
    # Auxiliary heads run in training mode only, and they can need more than the rest.
    with _with_auxiliary_heads(model):
        fits = _fits(model, in_channels)
        high = next((size for size in _TRIED if fits(size)), None)
        if high is None:
            raise UserError(f"{type(model).__name__} accepts no square input of up to 1024 pixels")
        low = max((size for size in _TRIED if size < high and not fits(size)), default=0)
        while high - low > 1:
            middle = (low + high) // 2
            if fits(middle):
                high = middle
            else:
                low = middle
    return high


def flat_features(features: nn.Module, in_channels: int, image_size: int) -> int:
    """Number of values in ``features``' output for one image: the width of the dense layer that follows.

    Raises:
        ValueError: the image is too small for it; the message says what is not.
    """
    try:
        return output_shape(features, 1, in_channels, image_size, image_size)[1:].numel()
    except Exception:
        smallest = smallest_input(features, in_channels)
    raise ValueError(f"image_size {image_size} is too small, the smallest is {smallest}")


def explain(model: nn.Module, x: Tensor) -> str:
    """Return one line on what is wrong with the input ``x`` of ``model``, or ``""`` if its shape and type are fine."""
    name = type(model).__name__
    if x.dim() != 4:
        return f"{name} takes images of shape (N, C, H, W), got a tensor of shape {tuple(x.shape)}"
    if not x.is_floating_point():
        return f"{name} takes float images, got {x.dtype}: convert and normalise them first"
    layer = first_layer(model)
    channels, height, width = x.shape[1:]
    if layer is not None and channels != layer.in_channels:
        built = f"{name} was built for {layer.in_channels} input channels"
        return f"{built}, got {channels}: build it with in_channels={channels}"
    try:
        output_shape(model, 2, channels, height, width)
    except Exception:
        smallest = smallest_input(model, channels)
    else:
        return _explain_single(model, x) if len(x) == 1 else ""
    line = f"{name} cannot take {height}x{width} images; the smallest size that works is {smallest}x{smallest}"
    fixed = getattr(model, "image_size", None)
    if isinstance(fixed, int):
        line += f", and its dense layers were built for {fixed}x{fixed}: resize the images, or build it with "
        line += f"image_size={height}" if height == width else "another image_size (square)"
    return line


def _explain_single(model: nn.Module, x: Tensor) -> str:
    try:
        output_shape(model, *x.shape)
    except Exception:
        name, size = type(model).__name__, f"{x.shape[2]}x{x.shape[3]}"
        return f"{name} cannot train on one image of {size}: batch normalisation needs two, or a larger image"
    return ""


def checked(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a ``forward`` so that a wrong input ends in one clear line instead of an error deep in a layer.

    The right input pays nothing: only once the pass has failed is the cause looked for. Compiled and exported
    graphs hold the bare forward.
    """

    @functools.wraps(forward)
    def wrapper(self: nn.Module, x: Tensor) -> Any:
        if torch.compiler.is_compiling():
            return forward(self, x)
        try:
            return forward(self, x)
        except (RuntimeError, ValueError, TypeError) as error:
            # On the meta device this is a probe (maybe our own): let it see the plain error.
            line = "" if x.is_meta else explain(self, x)
            if line:
                raise UserError(line) from error
            raise

    return wrapper
