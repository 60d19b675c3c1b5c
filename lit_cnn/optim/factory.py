"""Optimizers by name, and their parameter groups."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from lit_cnn.errors import UserError, nearest
from lit_cnn.optim.muon import Muon
from lit_cnn.optim.rmsprop import KerasRMSprop

# Arguments for two common names. Every other name is a class of torch.optim with torch's own defaults.
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adamw": ("AdamW", {}),
    "keras_rmsprop": ("KerasRMSprop", {}),
}

SGD_LR = 0.1  # for training from scratch (He et al. 2015, arXiv 1512.03385, section 4.2); torch's own is 0.001

FUSED_DEVICES = ("cpu", "cuda")  # whose fused updates torch documents


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """Find a ``torch.optim`` class by its name, ignoring case.

    Raises:
        UserError: there is none.
    """
    known = {
        n.lower(): c
        for n, c in vars(torch.optim).items()
        if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer) and c is not torch.optim.Optimizer
    }
    known["muon"] = Muon  # torch's takes matrices only
    known["kerasrmsprop"] = KerasRMSprop
    if name.lower() not in known:
        names = sorted(c.__name__ for c in known.values())
        raise UserError(f"unknown optimizer {name!r}{nearest(name, names) or ';'} known: {', '.join(names)}")
    return known[name.lower()]


def default_lr(name: str) -> float:
    """The learning rate of an optimizer where none is given: 0.1 for SGD, else that of its class.

    Raises:
        UserError: there is no such optimizer, or its class has none.
    """
    cls = optimizer_class(PRESETS.get(name.lower(), (name, {}))[0])
    if cls is torch.optim.SGD:
        return SGD_LR
    lr = inspect.signature(cls).parameters["lr"].default
    if lr is inspect.Parameter.empty:
        raise UserError(f"optimizer {cls.__name__} has no learning rate of its own: give `model.lr`")
    return float(lr)


def build_optimizer(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float,
    args: dict[str, Any],
    decay_norm_and_bias: bool,
    fused: bool = False,
    lr_stop: Mapping[str, float] | None = None,
    lr_scale: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """Build an optimizer over the trainable parameters.

    Args:
        model: parameters with ``requires_grad=False`` are skipped.
        name: ``sgd`` (momentum 0.9, Nesterov), ``adamw``, ``muon`` (this project's), ``keras_rmsprop``, or any class
            of ``torch.optim``.
        lr: learning rate.
        weight_decay: weight decay; refused by optimizers that have none.
        args: further keyword arguments of the class; they override a preset's.
        decay_norm_and_bias: also decay biases and normalization weights (all one-dimensional parameters).
        fused: update all parameters in one kernel where the class and the devices support it, unless ``args`` choose
            an implementation.
        lr_stop: for parts of parameter names, the epoch at which the learning rate of those parameters has fallen to
            0; their group has it as ``stop``.
        lr_scale: factor of the learning rate of each parameter, by name; their group has it as ``lr_scale``.

    Raises:
        UserError: for an unknown optimizer, a wrong argument, or nothing to train.
    """
    cls = optimizer_class(PRESETS.get(name.lower(), (name, {}))[0])
    accepted = [p for p in inspect.signature(cls).parameters if p not in ("params", "lr", "weight_decay")]
    for key in args:
        if key not in accepted:
            near = nearest(key, accepted) or ";"
            raise UserError(f"optimizer {cls.__name__} has no argument {key!r}{near} valid: {', '.join(accepted)}")
    options = {**PRESETS.get(name.lower(), (name, {}))[1], **args, "lr": lr}
    if "momentum" in options and not options["momentum"] and options.get("nesterov") and "nesterov" not in args:
        options["nesterov"] = False  # torch refuses Nesterov without momentum; only the preset asked for it
    if "weight_decay" in inspect.signature(cls).parameters:
        options["weight_decay"] = weight_decay
    elif weight_decay:
        raise UserError(f"optimizer {cls.__name__} has no weight decay: set `model.weight_decay=0`")
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        why = "`model.freeze`, or its own code (requires_grad=False), froze every parameter of the backbone"
        if next(model.parameters(), None) is None:
            why = "the backbone has no parameters"
        raise UserError(f"nothing to train: {why}, {type(model).__name__}")
    if fused and "fused" in accepted and not args.keys() & {"fused", "foreach", "differentiable", "capturable"}:
        options["fused"] = all(
            # sharded weights (fsdp) have no fused update on the CPU (torch 2.14)
            p.device.type in FUSED_DEVICES and p.dtype == torch.float32 and not isinstance(p, DTensor)
            for p in trainable
        )
    groups = _param_groups(model, decay_norm_and_bias or not weight_decay, lr_stop or {}, lr_scale)
    try:
        optimizer = cls(groups, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer {cls.__name__} refused its settings: {error}") from error
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_scale", 1.0)
    if isinstance(optimizer, torch.optim.SGD):
        optimizer.register_step_pre_hook(_preset_momentum)
    return optimizer


def _preset_momentum(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """Before a step: give fused SGD momentum buffers that it would not make, or not make well (torch 2.14).

    - Under a gradient scaler it makes them by ``empty_like`` and leaves them so where the scaler found a gradient that
      is infinite, which is usual in the first steps of float16; the next step then takes what was in memory for
      momentum.
    - Where some parameters have had no gradient until now (a group that is ``late``: layers that are unfrozen), it
      fails. Gradients are computed within the step, so all that may get one have their buffer then.

    From -0.0, which changes no number that is added to it, the first update has the bits that it has otherwise.
    """
    scaled = getattr(optimizer, "found_inf", None) is not None  # set by the scaler
    for group in optimizer.param_groups:
        if not (group["fused"] and group["momentum"]):
            continue
        late = group.get("late") and any(optimizer.state.get(p) for p in group["params"])
        for parameter in group["params"]:
            due = (scaled and parameter.grad is not None) or (late and parameter.requires_grad)
            if due and optimizer.state.get(parameter, {}).get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.full_like(parameter, -0.0, requires_grad=False)


def _param_groups(
    model: nn.Module, decay_all: bool, lr_stop: Mapping[str, float], lr_scale: Mapping[str, float] | None
) -> list[dict[str, Any]]:
    """Trainable parameters, grouped by weight decay, the epoch at which they stop and the factor of their rate."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    for part, epoch in lr_stop.items():
        if epoch <= 0:
            raise UserError(f"`model.lr_stop`: {part!r} stops at epoch {epoch}: give one above 0, or freeze it")
        if not any(part in name for name, _ in named):
            raise UserError(f"`model.lr_stop`: no trainable parameter has {part!r} in its name")
    groups: dict[tuple[float, bool, float], dict[str, Any]] = {}
    for name, parameter in sorted(named, key=lambda item: not decay_all and item[1].ndim <= 1):
        stop = min((epoch for part, epoch in lr_stop.items() if part in name), default=math.inf)
        plain = not decay_all and parameter.ndim <= 1
        own = ({"weight_decay": 0.0} if plain else {}) | ({"stop": stop} if stop < math.inf else {})
        scale = 1.0 if lr_scale is None else lr_scale[name]
        own |= {"lr_scale": scale} if lr_scale is not None else {}
        groups.setdefault((stop, plain, scale), {"params": [], **own})["params"].append(parameter)
    return list(groups.values())


def scale_lrs(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Multiply every learning rate by ``factor``, except Muon's of filters, which is a share of the weights' size."""
    for group in optimizer.param_groups:
        if group.get("kind") != "muon":
            group["lr"] *= factor


def match_memory_formats(optimizer: torch.optim.Optimizer) -> None:
    """Convert restored optimizer state to the strides (memory format) of its parameters.

    Fused updates on the CPU iterate over memory and ignore strides (torch 2.14): when a resumed run has another
    ``channels_last``, they would pair each weight with another one's momentum.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            same_shape = isinstance(value, torch.Tensor) and value.shape == parameter.shape
            if same_shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
