"""Exponential moving average (EMA) of the weights, kept where the model trains."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lit_cnn.utils.tensors import copy_all_, group_by_dtype


class EMAModel(AveragedModel):
    """torch's AveragedModel, whose updates read nothing back from the device.

    Buffers (batch-norm statistics) are running averages already: copied, not averaged.

    Args:
        model: the model to average.
        device: where to keep the average.
        decay: of the moving average.
    """

    def __init__(self, model: nn.Module, device: torch.device, decay: float) -> None:
        super().__init__(model, device=device)
        self.n_averaged = self.n_averaged.cpu()  # written at a save and read at a load only
        self.count = 0
        self._average = get_ema_multi_avg_fn(decay)
        self.register_state_dict_pre_hook(lambda module, *_: module.n_averaged.fill_(module.count))
        self.register_load_state_dict_post_hook(lambda module, _: setattr(module, "count", int(module.n_averaged)))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the present weights; the first call copies them."""
        own, current = list(self.module.parameters()), list(model.parameters())
        if self.count == 0:
            copy_all_(own, current)
        else:
            for averages, weights in group_by_dtype(own, current):
                self._average(averages, weights, self.count)
        copy_all_(list(self.module.buffers()), list(model.buffers()))
        self.count += 1


class WeightEMA(WeightAveraging):
    """Lightning's WeightAveraging, with the average on the device that trains.

    Lightning's own takes the model's device in ``setup``, before the model moves to a GPU: every step would then copy
    all weights to the CPU.

    Args:
        decay: of the moving average, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False)
        self.decay = decay

    @property
    def state_key(self) -> str:
        """The name under which checkpoints keep the state: that of Lightning's class."""
        return "WeightAveraging"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the model when fit begins."""
        if stage == "fit":
            self._average_model: Any = EMAModel(pl_module, trainer.strategy.root_device, self.decay)
