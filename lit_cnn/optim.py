"""Optimizers by name and learning-rate schedules as pure functions of the optimizer step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from lit_cnn.errors import UserError, nearest
from lit_cnn.muon import Muon

ScheduleName = Literal["constant", "step", "cosine", "one_cycle", "linear"]

# What people mean by these two names. Every other name is taken from torch.optim with torch's own defaults.
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adamw": ("AdamW", {}),
}

FUSED = ("cpu", "cuda")  # devices whose fused updates torch documents


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """Find a ``torch.optim`` class by its name, in any letter case."""
    known = {
        n.lower(): c
        for n, c in vars(torch.optim).items()
        if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer) and c is not torch.optim.Optimizer
    }
    known["muon"] = Muon  # torch's takes matrices only, and no network is made of these alone
    if name.lower() not in known:
        names = sorted(c.__name__ for c in known.values())
        raise UserError(f"unknown optimizer {name!r}{nearest(name, names) or ';'} known: {', '.join(names)}")
    return known[name.lower()]


def build_optimizer(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float,
    args: dict[str, Any],
    decay_norm_and_bias: bool,
    fused: bool = False,
    stops: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """Build an optimizer over the parameters that train.

    Args:
        model: parameters with ``requires_grad=False`` are left out.
        name: ``sgd`` (momentum 0.9, Nesterov), ``adamw``, ``muon`` (this project's), or any class of ``torch.optim``.
        lr: learning rate.
        weight_decay: weight decay; ignored with a clear error by optimizers that have none.
        args: further keyword arguments of the class; they win over a preset's.
        decay_norm_and_bias: also decay biases and normalisation weights (all one-dimensional parameters).
        stops: for parts of parameter names, the epoch at which those parameters' learning rate has come down to 0; it
            is noted in their group as ``stop``.
        fused: update all parameters in one kernel where the class and the device can, and ``args`` say nothing else.

    Raises:
        UserError: for an unknown optimizer or argument.
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
        raise UserError(f"optimizer {cls.__name__} has no weight decay: set --model.weight_decay 0")
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise UserError("nothing to train: --model.freeze froze every parameter of the backbone")
    if fused and "fused" in accepted and not args.keys() & {"fused", "foreach", "differentiable", "capturable"}:
        options["fused"] = all(
            # parts of weights (fsdp) have no fused update on the CPU (torch 2.14)
            p.device.type in FUSED and p.dtype == torch.float32 and not isinstance(p, DTensor)
            for p in trainable
        )
    groups = _groups(model, decay_norm_and_bias or not weight_decay, stops or {})
    try:
        return cls(groups, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer {cls.__name__} refused its settings: {error}") from error


def _groups(model: nn.Module, decay_all: bool, stops: Mapping[str, float]) -> list[dict[str, Any]]:
    """Trainable parameters, grouped by what they share: decay or not, and when they stop."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    for part in stops:
        if not any(part in name for name, _ in named):
            raise UserError(f"model.lr_stop: no parameter that trains has {part!r} in its name")
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in sorted(named, key=lambda item: not decay_all and item[1].ndim <= 1):
        stop = min((epoch for part, epoch in stops.items() if part in name), default=math.inf)
        plain = not decay_all and parameter.ndim <= 1
        own = ({"weight_decay": 0.0} if plain else {}) | ({"stop": stop} if stop < math.inf else {})
        groups.setdefault((stop, plain), {"params": [], **own})["params"].append(parameter)
    return list(groups.values())


def scale_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Multiply every learning rate by ``factor``, but for those that are a share of the weights' size (Muon's)."""
    for group in optimizer.param_groups:
        if group.get("kind") != "muon":
            group["lr"] *= factor


def match_layouts(optimizer: torch.optim.Optimizer) -> None:
    """Lay restored state out in memory as its parameters are.

    Fused updates on the CPU walk through memory and look at no strides (torch 2.14): with ``channels_last`` changed
    between two parts of a run they would pair each weight with another one's momentum.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            alike = isinstance(value, torch.Tensor) and value.shape == parameter.shape
            if alike and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


class Schedule:
    """Learning-rate factor at optimizer step ``t``, a pure function: resuming needs only ``t``.

    After a linear warm-up over ``warmup`` steps (from 1/warmup to 1), with u in [0, 1] the share of the remaining
    steps already done:

    - ``constant``: 1
    - ``step``: gamma ** (number of whole ``step_size`` since step 0)
    - ``cosine``: floor + (1 - floor) (1 + cos(pi u)) / 2   (Loshchilov & Hutter, "SGDR", 2017, equation 5)
    - ``linear``: 1 - (1 - floor) u
    - ``one_cycle``: from 1/25 up to 1 over the first 30% of all steps, down to 1/250,000, both along a half cosine
      (Smith & Topin, "Super-convergence", 2018, in torch.optim.lr_scheduler.OneCycleLR's form). It brings its own
      warm-up, so ``warmup`` replaces the 30% when it is set.

    Args:
        name: one of the above.
        total: optimizer steps of the whole run.
        warmup: warm-up steps.
        step_size: for ``step``, in optimizer steps.
        gamma: for ``step``.
        floor: lowest factor of ``cosine`` and ``linear``.
    """

    def __init__(
        self, name: ScheduleName, total: int, warmup: int = 0, step_size: int = 1, gamma: float = 0.1, floor: float = 0
    ) -> None:
        self.name = name
        self.total = total
        self.warmup = warmup
        self.step_size = step_size
        self.gamma = gamma
        self.floor = floor

    def __call__(self, t: int) -> float:
        """Factor for the optimizer step number ``t`` (0 is the first)."""
        if self.name == "one_cycle":
            return self._one_cycle(t)
        if t < self.warmup:
            return (t + 1) / self.warmup
        if self.name == "constant":
            return 1.0
        if self.name == "step":
            return self.gamma ** (t // self.step_size)
        done = min(1.0, (t - self.warmup) / max(1, self.total - self.warmup))
        shape = 1 - done if self.name == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.floor + (1 - self.floor) * shape

    def _one_cycle(self, t: int) -> float:
        up = (self.warmup or 0.3 * self.total) - 1  # step at which the peak is reached
        last = self.total - 1
        low, end = 1 / 25, 1 / 25 / 1e4
        if t <= up:
            return _half_cosine(low, 1.0, t / up if up > 0 else 1.0)
        return _half_cosine(1.0, end, min(1.0, (t - up) / max(1e-9, last - up)))


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
