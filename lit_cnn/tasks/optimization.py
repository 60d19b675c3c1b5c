"""A task's optimizer and schedule, from its settings and the trainer's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lit_cnn.errors import UserError
from lit_cnn.models._layer_rates import lr_scales
from lit_cnn.optim.factory import build_optimizer, default_lr, scale_lrs
from lit_cnn.optim.lr_schedule import build_scheduler, check_lr_settings
from lit_cnn.utils.datamodule import datamodule


def check_optimization(hparams: Any) -> None:
    """Refuse settings that make no sense, and give the optimizer its own learning rate where none is set.

    Raises:
        UserError: naming the setting.
    """
    if hparams["lr"] is None:
        hparams["lr"] = default_lr(hparams["optimizer"])
    check_lr_settings(hparams)
    decay, head, epochs = (hparams.get(name) for name in ("layer_decay", "head_lr_scale", "freeze_epochs"))
    if decay is not None and not 0 < decay <= 1:
        raise UserError(f"`model.layer_decay` must be above 0 and at most 1, got {decay}: 0.75 is usual, null is off")
    if head is not None and head <= 0:
        raise UserError(f"`model.head_lr_scale` must be positive, got {head}: 10 is usual, null is off")
    if epochs is not None and hparams.get("freeze") is None:
        raise UserError("`model.freeze_epochs` needs to know what to freeze: `model.freeze=backbone`, or blocks")
    if epochs is not None and epochs < 1:
        raise UserError(f"`model.freeze_epochs` must be at least 1, got {epochs}")


def configure(backbone: nn.Module, hparams: Mapping[str, Any], trainer: Trainer) -> torch.optim.Optimizer:
    """The optimizer over the trainable parameters."""
    plugin = trainer.precision_plugin
    mixed = isinstance(plugin, MixedPrecision)
    # a fused optimizer does not know which update is a parameter's first, which has no dampening, where the scaler has
    # skipped one, or where parameters are unfrozen later
    later = getattr(plugin, "scaler", None) is not None or hparams.get("freeze_epochs") is not None
    damps = (hparams["optimizer_args"] or {}).get("dampening") and later
    decay, head = hparams.get("layer_decay"), hparams.get("head_lr_scale")
    scaled = decay is not None or head is not None
    optimizer = build_optimizer(
        backbone,
        hparams["optimizer"],
        hparams["lr"],
        hparams["weight_decay"],
        hparams["optimizer_args"] or {},
        hparams["decay_norm_and_bias"],
        # Lightning refuses to clip gradients that a fused optimizer may have unscaled itself
        fused=not (damps or (mixed and trainer.gradient_clip_val)),
        lr_stop=hparams["lr_stop"],
        lr_scale=lr_scales(backbone, decay, head, hparams.get("num_classes")) if scaled else None,
    )
    if hparams.get("freeze_epochs") is not None:
        for group in optimizer.param_groups:
            group["late"] = True
    if hparams.get("lr_base_size"):
        images = datamodule(trainer).batch_size * trainer.world_size * trainer.accumulate_grad_batches
        scale_lrs(optimizer, images / hparams["lr_base_size"])
    return optimizer


def schedule(optimizer: torch.optim.Optimizer, hparams: Mapping[str, Any], trainer: Trainer) -> LambdaLR:
    """The schedule, which is stepped with the optimizer.

    Raises:
        UserError: the run has no end, which the schedule needs.
    """
    total = trainer.estimated_stepping_batches
    trainer.fit_loop.setup_data()  # does nothing when repeated; with max_steps alone it was not called yet
    per_epoch = max(1.0, trainer.num_training_batches / trainer.accumulate_grad_batches)
    return build_scheduler(optimizer, hparams, total, per_epoch)
