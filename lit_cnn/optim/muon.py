"""Muon for convolution filters, SGD for everything else, in one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Of a quintic that moves singular values towards 1 in few steps; they end between about 0.7 and 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """Approximate U V^T of the singular value decomposition of ``matrix`` (rows, columns); bfloat16, same shape.

    Newton-Schulz iteration, stable in bfloat16: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural
    networks" (kellerjordan.github.io/posts/muon).
    """
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)  # the largest singular value is then at most 1
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for filters (N, C, H, W): the orthogonalized momentum of their matrix (N, C H W); Nesterov SGD otherwise.

    As airbench94 in its version with Muon: before each update a filter bank is scaled to a norm of sqrt(N), so that
    ``lr`` is relative to the weights' size. torch.optim.Muon takes matrices only.

    The learning rates of SGD are for a loss that is the mean over a batch.

    Args:
        params: parameters, or groups of them; each group is split by the number of dimensions.
        lr: of the filters, as a share of their size.
        momentum: of the filters.
        weight_decay: share of all other weights that is removed at each step at the peak learning rate; the filters
            have a fixed norm.
        head_lr: of matrices, such as a classifier's.
        bias_lr: of vectors, such as biases.
        sgd_momentum: of matrices and vectors.
        steps: Newton-Schulz steps.

    Raises:
        ValueError: for a setting out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.24,
        momentum: float = 0.6,
        weight_decay: float = 0.0,
        head_lr: float = 0.1,
        bias_lr: float = 0.1,
        sgd_momentum: float = 0.85,
        steps: int = 5,
    ) -> None:
        for name, value in {"lr": lr, "head_lr": head_lr, "bias_lr": bias_lr}.items():
            if value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
        for name, value in {"momentum": momentum, "sgd_momentum": sgd_momentum}.items():
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be in [0, 1), got {value}")
        if weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {weight_decay}")
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps must be an integer of at least 1, got {steps}")
        groups: list[dict[str, Any]] = []
        for given in params:
            group: dict[str, Any] = dict(given) if isinstance(given, dict) else {"params": [given]}
            decay = group.pop("weight_decay", weight_decay)
            kinds = (
                ("muon", lambda p: p.ndim == 4, lr, momentum),
                ("sgd", lambda p: p.ndim in (2, 3, 5), head_lr, sgd_momentum),
                ("sgd", lambda p: p.ndim < 2, bias_lr, sgd_momentum),
            )
            for kind, belongs, rate, beta in kinds:
                if members := [p for p in group["params"] if belongs(p)]:
                    own = {"kind": kind, "lr": rate, "momentum": beta, "weight_decay": decay / rate}
                    groups.append({**group, **own, "params": members})
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters; returns what ``closure`` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        momentum, filters = group["momentum"], group["kind"] == "muon"
        if not filters and group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"].mul_(momentum).add_(gradient)
        direction = gradient.add(buffer, alpha=momentum)  # Nesterov's
        if filters:
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
            direction = orthogonalize(direction.flatten(1), group["steps"]).reshape(parameter.shape)
        parameter.add_(direction, alpha=-group["lr"])
