"""FSDP: each rank keeps a shard of the weights, their gradients and the optimizer state (``trainer.strategy: fsdp``).

Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", 2023, in the form of torch's
``fully_shard``. Lightning's own strategy of that name runs on GPUs alone, and writes optimizer states that only it can
read; this one runs wherever ``ddp`` does, and its checkpoints are those of any other run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from typing import Any, cast

import torch
from jsonargparse import Namespace
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from lit_cnn.errors import UserError

NAME = "fsdp"
PRECISIONS = (None, "32", "32-true", 32, "bf16", "bf16-mixed")
FULL_TENSORS = ("muon", "lbfgs", "adafactor", "shampoo")  # optimizers whose update of a weight depends on other weights


class ShardedStrategy(DDPStrategy):
    """As ``ddp``, with every weight of ``lightning_module.backbone`` sharded over the ranks while training.

    Each child of the backbone is unsharded for its forward and its backward pass, and resharded. Validation during
    training has the full network unsharded, since a rank that runs out of batches before the others would leave them
    waiting; evaluations on their own shard nothing. Weights are in contiguous memory format: ``fully_shard`` takes no
    other.
    """

    @property
    def _network(self) -> nn.Module:
        assert self.lightning_module is not None
        network = self.lightning_module.backbone  # of a Task, which holds all its parameters in it
        assert isinstance(network, nn.Module)
        return network

    # -- training -----------------------------------------------------------------------------------------------------

    def configure_ddp(self) -> None:
        """Shard the network; called before training only."""
        network = self._network
        with torch.no_grad():
            for tensor in [*network.parameters(), *network.buffers()]:
                tensor.data = tensor.data.contiguous()
                torch.distributed.broadcast(tensor, src=0)  # all start from rank zero's weights, as with ddp
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        for child in network.children():
            # a list has no forward pass of its own to unshard it: the full network's does
            if not isinstance(child, (nn.ModuleList, nn.ModuleDict)) and any(True for _ in child.parameters()):
                fully_shard(child, mesh=mesh, reshard_after_forward=True)
        fully_shard(network, mesh=mesh, reshard_after_forward=False)  # its backward pass follows at once

    @contextlib.contextmanager
    def block_backward_sync(self) -> Generator[None]:
        """Accumulate gradients without reducing them: all but the last batch of an optimizer step."""
        network = self._network
        assert isinstance(network, FSDPModule)
        network.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            network.set_requires_gradient_sync(True)

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any) -> Any:
        """As ``ddp``: after a step all ranks have rank zero's running statistics, which a checkpoint holds."""
        output = super().optimizer_step(optimizer, closure, model, **kwargs)
        buffers = [b for b in self._network.buffers() if b.is_floating_point() and b.numel()]
        for dtype in dict.fromkeys(b.dtype for b in buffers):
            alike = [b for b in buffers if b.dtype == dtype]
            flat = torch.cat([b.reshape(-1) for b in alike])
            torch.distributed.broadcast(flat, src=0)
            parts = flat.split([b.numel() for b in alike])
            torch._foreach_copy_(alike, [part.view_as(b) for part, b in zip(parts, alike, strict=True)])
        return output

    # -- validation during training -----------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        """Unshard the network."""
        with torch.inference_mode(False), torch.no_grad():  # training uses these tensors afterwards
            for part in self._sharded():
                part.set_reshard_after_forward(False, recurse=False)
                part.unshard()

    def on_validation_end(self) -> None:
        """Reshard it."""
        for part in self._sharded():
            inner = cast(nn.Module, part) is not self._network
            part.set_reshard_after_forward(inner, recurse=False)
            part.reshard()

    def _sharded(self) -> list[FSDPModule]:
        return [module for module in self._network.modules() if isinstance(module, FSDPModule)]

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The full state dict, on the CPU; every rank has to call it, rank zero gets it."""
        return self._full(super().lightning_module_state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The full state in torch's own form; every rank has to call it, rank zero gets it."""
        return self._full(super().optimizer_state(optimizer))

    def _full(self, state: Any) -> Any:
        if isinstance(state, Mapping):
            return {key: self._full(value) for key, value in state.items()}
        if isinstance(state, DTensor):
            full = state.full_tensor()
            return full.cpu() if self.is_global_zero else None  # the others write nothing
        return state

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Keep this rank's shard of the state that a checkpoint of any strategy holds."""
        super().load_optimizer_state_dict(checkpoint)
        for optimizer in self.optimizers:
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape:
                        state[name] = distribute_tensor(value, parameter.device_mesh, parameter.placements)


def holds_all_weights(strategy: Strategy) -> bool:
    """Whether each rank holds all weights, so that one rank alone can run the network."""
    whole = isinstance(strategy, (SingleDeviceStrategy, DDPStrategy))
    return whole and not isinstance(strategy, ShardedStrategy)


def strategy_of(setting: Any) -> Any:
    """What Lightning's trainer takes for the setting ``trainer.strategy``."""
    return ShardedStrategy() if setting == NAME else setting


def check(config: Namespace) -> None:
    """Refuse what does not work with sharded weights.

    Raises:
        UserError: naming the setting and what to do.
    """
    trainer, model = config.trainer, config.model
    if isinstance(trainer.strategy, str) and trainer.strategy.startswith(f"{NAME}_"):
        raise UserError(f"`trainer.strategy={trainer.strategy}`: there is one form of it here, {NAME}")
    if trainer.strategy != NAME:
        return
    found = {
        "model.ema_decay": model.ema_decay is not None,
        "model.compile": model.compile,
        "model.optimizer": model.optimizer.lower() in FULL_TENSORS,
        "trainer.precision": trainer.precision not in PRECISIONS,
    }
    for name, refused in found.items():
        if refused:
            section, key = name.split(".")
            raise UserError(
                f"`{name}={config[section][key]}` does not work with `trainer.strategy={NAME}`, which shards weights "
                "over the ranks: leave one of the two out (ddp keeps full weights)"
            )
