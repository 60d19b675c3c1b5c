"""Input sizes that a network accepts, and errors for the others: found by running it on the meta device."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lit_cnn.errors import UserError

# Tried in this order. Those that are no powers of 2 are for networks that take one size only (vision transformers).
_SIZES = (*(2**i for i in range(11)), 224, 227, 240, 256, 288, 299, 320, 336, 384, 448, 480, 512, 518, 600)


class WrongOutputError(UserError):
    """A model does not return tensors, whatever the size of its input."""


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model on the meta device: shapes only, no memory for its weights."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:  # it reads values while it is built, as torchvision's RegNets do
        return build().to("meta")


def output_shape(model: nn.Module, *shape: int) -> torch.Size:
    """Shape of ``model``'s first output for a float input of ``shape``, in the mode the model is in.

    Nothing is computed and nothing in the model changes: it runs on copies of its parameters and buffers on the meta
    device.

    Raises:
        WrongOutputError: the output has no tensor first.
        Exception: whatever the forward pass raises for this shape.
    """
    stand_ins = {name: t.to("meta") for name, t in model.named_parameters()}
    stand_ins |= {name: t.to("meta") for name, t in model.named_buffers()}
    dtype = next((t.dtype for t in stand_ins.values() if t.is_floating_point()), torch.float32)
    # A compiled model would be compiled again for every size that is tried.
    compiled = getattr(model, "_compiled_call_impl", None) is not None
    eager = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    with torch.no_grad(), eager:
        out = functional_call(model, stand_ins, (torch.empty(shape, device="meta", dtype=dtype),))
    first = out[0] if isinstance(out, (tuple, list)) and out else out
    if not isinstance(first, Tensor):
        raise WrongOutputError(
            f"{type(model).__name__} returns a {type(out).__name__}, but logits, a tensor (N, K), or a tuple "
            "(logits, *aux_logits) are expected"
        )
    return first.shape


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put ``model`` in training or eval mode, and afterwards every module back in the mode it was in.

    Batch norms stay in eval mode: they do not change shapes, and on the meta device their training is 5 times as slow.
    """
    before = [(module, module.training) for module in model.modules()]
    for module, _ in before:
        module.training = training and not isinstance(module, nn.modules.batchnorm._BatchNorm)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


def first_conv(model: nn.Module) -> nn.Conv2d | None:
    """The convolution that takes the image: the first one registered."""
    return next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)


def _fixed(model: nn.Module) -> tuple[nn.Module, int] | None:
    """Convolutions and image size of a network whose dense layers take one map size only; ``None`` for any other."""
    features, image_size = getattr(model, "features", None), getattr(model, "image_size", None)
    return (features, image_size) if isinstance(features, nn.Module) and isinstance(image_size, int) else None


def _fits(model: nn.Module, channels: int) -> Callable[[int], bool]:
    """Return the predicate "the model accepts a square image of this side", in the model's current mode."""
    # Where dense layers take one map size, a failure does not show whether the image is too small or too large; the
    # size of the map does.
    if fixed := _fixed(model):
        features, image_size = fixed
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
            except WrongOutputError:
                raise
            except Exception:
                return False
            return True

    return fits


def smallest_input(model: nn.Module, in_channels: int | None = None, training: bool = True) -> int:
    """Side in pixels of the smallest square image that ``model`` accepts.

    Found by bisection over forward passes without data, so the deepest network here, DenseNet-264, takes 1.3 s.

    Args:
        in_channels: channels of the image, by default those of the first convolution.
        training: in training mode, where auxiliary heads run and can need more than the rest, or else in eval mode.
            The mode that the model is in does not matter.

    Raises:
        UserError: the model accepts no size up to 1024 pixels.
    """
    in_channels = in_channels or _channels(model)
    with _mode(model, training):
        fits = _fits(model, in_channels)
        failed = list(itertools.takewhile(lambda size: not fits(size), _SIZES))
        if len(failed) == len(_SIZES):
            raise UserError(f"{type(model).__name__} accepts no square input of up to 1024 pixels")
        high = _SIZES[len(failed)]
        low = max((size for size in failed if size < high), default=0)
        while high - low > 1:
            middle = (low + high) // 2
            if fits(middle):
                high = middle
            else:
                low = middle
    return high


def typical_input(model: nn.Module, in_channels: int | None = None) -> int:
    """Side in pixels of a square image to show ``model`` with, in eval mode: 224, or the nearest size it accepts.

    Raises:
        UserError: the model accepts no size that was tried.
    """
    if fixed := _fixed(model):
        return fixed[1]
    with _mode(model, False):
        fits = _fits(model, in_channels or _channels(model))
        for size in sorted(_SIZES, key=lambda size: abs(size - 224)):
            if fits(size):
                return size
    raise UserError(f"{type(model).__name__} accepts no square input of up to 1024 pixels")


def _channels(model: nn.Module) -> int:
    return _built_for(model) or 3


def _built_for(model: nn.Module) -> int | None:
    """Channels of the image that ``model`` was built for, if it says so."""
    layer = first_conv(model)
    channels = getattr(model, "in_channels", None) if layer is None else layer.in_channels
    return channels if isinstance(channels, int) else None


def flat_features(features: nn.Module, in_channels: int, image_size: int) -> int:
    """Number of values in ``features``' output for one image: the input width of the dense layer that follows.

    Raises:
        ValueError: the image is too small; the message names the smallest size.
    """
    try:
        return output_shape(features, 1, in_channels, image_size, image_size)[1:].numel()
    except Exception:
        smallest = smallest_input(features, in_channels)
    raise ValueError(f"image_size {image_size} is too small, the smallest is {smallest}")


def input_error(model: nn.Module, x: Tensor) -> str:
    """Return one line on what is wrong with the input ``x`` of ``model``, in the mode that the model is in.

    It is ``""`` if shape and type are right, and if the model accepts no size at all: then the size is not to blame.
    """
    name = type(model).__name__
    if x.dim() != 4:
        return f"{name} takes images of shape (N, C, H, W), got a tensor of shape {tuple(x.shape)}"
    if not x.is_floating_point():
        return f"{name} takes float images, got {x.dtype}: convert and normalise them first"
    wanted = _built_for(model)
    channels, height, width = x.shape[1:]
    if wanted is not None and channels != wanted:
        return f"{name} was built for {wanted} input channels, got {channels}: set `data.channels={wanted}`"
    try:
        output_shape(model, 2, channels, height, width)
    except Exception:
        try:
            return f"{name} cannot take {height}x{width} images{_size_hint(model, channels, height, width)}"
        except UserError:  # no size is accepted, so it is not the size that is wrong
            return ""
    return _single_image_error(model, x) if len(x) == 1 else ""


def _size_hint(model: nn.Module, channels: int, height: int, width: int) -> str:
    """End of the error for an image of a wrong size: which sizes are right."""
    smallest, other = (smallest_input(model, channels, training) for training in (model.training, not model.training))
    line = ""
    if min(height, width) < smallest:
        line = f"; the smallest size that works is {smallest}x{smallest}"
        if smallest != other:
            here, there = ("training", "evaluation") if model.training else ("evaluation", "training")
            line = f" in {here}{line} ({other}x{other} in {there})"
    elif not _fixed(model):
        # Not every size above the smallest fits: a vision transformer takes one only.
        side = min(height, width)
        with _mode(model, model.training):
            fitting = filter(_fits(model, channels), _SIZES)
            near = min(fitting, key=lambda size: (size < side, abs(size - side)))
        line = f"; a size that works is {near}x{near}"
    if fixed := _fixed(model):
        features, built = fixed
        least = smallest_input(features, channels)
        line += f"; its dense layers were built for {built}x{built}: set `data.image_size={built}`, or "
        suits = height == width and height >= least
        other_size = f"={height}`" if suits else f"` (square images, from {least} up)"
        line += f"`model.backbone_args.image_size{other_size}"
    return line


def _single_image_error(model: nn.Module, x: Tensor) -> str:
    try:
        output_shape(model, *x.shape)
    except Exception:
        name, size = type(model).__name__, f"{x.shape[2]}x{x.shape[3]}"
        return f"{name} cannot train on one image of {size}: batch normalisation needs two, or a larger image"
    return ""


def report_input_errors(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a ``forward`` so that a wrong input raises one clear line instead of an error deep in a layer.

    A right input costs nothing: the cause is looked for only after the forward pass has failed. Compiled and exported
    graphs contain the undecorated forward.
    """

    @functools.wraps(forward)
    def wrapper(self: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return forward(self, x, *args, **kwargs)
        try:
            return forward(self, x, *args, **kwargs)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            # On the meta device this is a trial (maybe our own), which wants the original error.
            line = "" if not isinstance(x, Tensor) or x.is_meta else input_error(self, x)
            if line:
                raise UserError(line) from error
            raise

    wrapper.reports_input_errors = True  # type: ignore[attr-defined]
    return wrapper


def report_input_errors_of(model: nn.Module) -> nn.Module:
    """Decorate the forward of this one model as ``report_input_errors`` does, unless it is decorated already.

    Its class, its state dict and what is compiled or exported from it stay as they are.
    """
    if "forward" not in vars(model) and not hasattr(type(model).forward, "reports_input_errors"):
        model.forward = MethodType(report_input_errors(type(model).forward), model)
    return model
