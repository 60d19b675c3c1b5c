"""Learning-rate schedules, pure functions of the optimizer step, and learning rates after a resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LambdaLR

from lit_cnn.errors import UserError

ScheduleName = Literal["constant", "step", "cosine", "one_cycle", "linear"]


def check_lr_settings(settings: Mapping[str, Any]) -> None:
    """Refuse learning-rate settings of the model that make no sense.

    Args:
        settings: of the model: lr, lr_base_size, lr_warmup_epochs, lr_min, lr_step_size.

    Raises:
        UserError: naming the setting.
    """
    lr, base, warmup = settings["lr"], settings["lr_base_size"], settings["lr_warmup_epochs"]
    low, step_size = settings["lr_min"], settings["lr_step_size"]
    if lr == "auto":
        raise UserError("`model.lr=auto` is resolved by lit-cnn fit only: give a number here")
    if lr <= 0:
        raise UserError(f"`model.lr` must be positive, got {lr}")
    if base is not None and base < 1:
        raise UserError(f"`model.lr_base_size` is {base}: it must be at least 1 image; 256 is usual")
    if warmup < 0 or low < 0 or low > lr or step_size < 1:
        raise UserError(
            f"`model.lr_warmup_epochs={warmup}` must be at least 0, `model.lr_min={low}` between 0 and `model.lr`, "
            f"`model.lr_step_size={step_size}` at least 1"
        )


def build_scheduler(
    optimizer: torch.optim.Optimizer, settings: Mapping[str, Any], total: float, per_epoch: float
) -> LambdaLR:
    """The learning-rate scheduler of a run, stepped at every optimizer step.

    Args:
        optimizer: groups with a ``stop`` (an epoch) fall linearly to 0 until then.
        settings: of the model: lr, lr_scheduler, lr_warmup_epochs, lr_step_size, lr_gamma, lr_min.
        total: optimizer steps of the run; may be infinite for a schedule that does not depend on it.
        per_epoch: optimizer steps of an epoch.

    Raises:
        UserError: the run has no end, which the schedule needs.
    """
    name = settings["lr_scheduler"]
    if not math.isfinite(total) and name not in ("constant", "step"):
        raise UserError(
            f"`model.lr_scheduler={name}` needs an end: set `trainer.max_epochs` or `trainer.max_steps`, or choose "
            "`model.lr_scheduler=constant`"
        )
    schedule = Schedule(
        name,
        total=int(total) if math.isfinite(total) else 0,
        warmup=round(settings["lr_warmup_epochs"] * per_epoch),
        step_size=max(1, round(settings["lr_step_size"] * per_epoch)),
        gamma=settings["lr_gamma"],
        floor=settings["lr_min"] / settings["lr"],
    )

    # a lambda, as LambdaLR stores no lambdas in checkpoints: a resumed run uses its own settings
    def factor(stop: float | None) -> Callable[[int], float]:
        if stop is None:
            return lambda step: schedule(step)
        last = max(1, round(stop * per_epoch))
        return lambda step: max(0.0, 1 - step / last)

    return LambdaLR(optimizer, [factor(group.get("stop")) for group in optimizer.param_groups])


def group_settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Settings of each parameter group, such as lr and weight_decay."""
    return [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]


def apply_group_settings(optimizer: torch.optim.Optimizer, scheduler: LambdaLR, settings: list[dict[str, Any]]) -> None:
    """Override the parameter-group settings that a checkpoint restored by those of this run.

    If nothing was changed, the learning rates computed here are the restored ones, bit for bit.

    Args:
        optimizer: restored.
        scheduler: restored.
        settings: what :func:`group_settings` returned when the optimizer was built.
    """
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own, initial_lr=own["lr"])
    scheduler.base_lrs = [group["lr"] for group in settings]
    for group, base, factor in zip(optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
        group["lr"] = base * factor(scheduler.last_epoch)  # LambdaLR's own formula; last_epoch counts steps here
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]


class Schedule:
    """Learning-rate factor at optimizer step ``t``, a pure function: resuming needs only ``t``.

    After a linear warm-up over ``warmup`` steps (from 1/warmup to 1), with u in [0, 1] the share of the remaining
    steps that are done:

    - ``constant``: 1
    - ``step``: gamma ** (number of completed ``step_size`` since step 0)
    - ``cosine``: floor + (1 - floor) (1 + cos(pi u)) / 2   (Loshchilov & Hutter, "SGDR", 2017, equation 5)
    - ``linear``: 1 - (1 - floor) u
    - ``one_cycle``: from 1/25 up to 1 over the first 30% of all steps, down to 1/250,000, each along a half cosine
      (Smith & Topin, "Super-convergence", 2018, in torch.optim.lr_scheduler.OneCycleLR's form). It has its own
      warm-up, whose 30% ``warmup`` replaces where it is set.

    Args:
        name: one of the above.
        total: optimizer steps of the run.
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
