"""Muon for convolution filters, SGD for everything else, in one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lit_cnn.utils.cpu import has_bfloat16

# Of a quintic that moves singular values towards 1 in few steps; they end between about 0.7 and 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """Approximate U V^T of the singular value decomposition of ``matrix``, (rows, columns) or (N, rows, columns).

    Newton-Schulz iteration, stable in bfloat16: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural
    networks" (kellerjordan.github.io/posts/muon). Computed, and returned, in bfloat16, but in float32 on CPUs without
    instructions for bfloat16, where its products take 36 times as long (``python -m benchmarks.muon``).
    """
    a, b, c = COEFFICIENTS
    addmm = torch.baddbmm if matrix.ndim == 3 else torch.addmm
    x = matrix.to(torch.bfloat16 if matrix.device.type != "cpu" or has_bfloat16() else torch.float32)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    norm = x.norm(dim=(-2, -1), keepdim=True) if matrix.ndim == 3 else x.norm()
    x = x / (norm + 1e-7)  # the largest singular value is then at most 1
    for _ in range(steps):
        gram = x @ x.mT
        x = addmm(x, addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


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
            parameters = [p for p in group["params"] if p.grad is not None]
            if all(p.device.type == "cpu" for p in parameters):
                for parameter in parameters:
                    self._update(parameter, group)
            else:
                self._update_together(parameters, group)
        return loss

    def _buffer(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]

    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        """One parameter; a batched product of matrices would have other bits on CPUs than older runs."""
        momentum, filters, gradient = group["momentum"], group["kind"] == "muon", parameter.grad
        assert gradient is not None
        if not filters and group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        buffer = self._buffer(parameter).mul_(momentum).add_(gradient)
        direction = gradient.add(buffer, alpha=momentum)  # Nesterov's
        if filters:
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
            direction = orthogonalize(direction.flatten(1), group["steps"]).reshape(parameter.shape)
        parameter.add_(direction, alpha=-group["lr"])

    def _update_together(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """The same on a GPU: few kernels for all parameters, and batched products for filters of one shape."""
        batches: dict[Any, list[Any]] = {}
        for p in parameters:
            shape = (len(p), p[0].numel()) if group["kind"] == "muon" else None
            batches.setdefault((p.device, p.dtype, shape), []).append(p)
        for batch in batches.values():
            gradients: Any = [p.grad for p in batch]
            if group["kind"] != "muon" and group["weight_decay"]:
                gradients = torch._foreach_add(gradients, batch, alpha=group["weight_decay"])
            buffers = [self._buffer(p) for p in batch]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, gradients)
            directions = list(torch._foreach_add(gradients, buffers, alpha=group["momentum"]))
            if group["kind"] == "muon":
                scales = len(batch[0]) ** 0.5 / torch.stack(torch._foreach_norm(batch))
                torch._foreach_mul_(batch, list(scales.unbind()))
                matrices = orthogonalize(torch.stack([d.flatten(1) for d in directions]), group["steps"])
                directions = [m.reshape(p.shape).to(p.dtype) for m, p in zip(matrices, batch, strict=True)]
            torch._foreach_add_(batch, directions, alpha=-group["lr"])
