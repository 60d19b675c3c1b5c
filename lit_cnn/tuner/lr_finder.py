"""Learning-rate finder (``model.lr: auto``): a range test before a training run is built.

Smith, "Cyclical learning rates for training neural networks", 2017, section 3.3 (arXiv 1506.01186): train some steps
while the learning rate grows, and find where the loss falls.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.data import Batch
from lit_cnn.errors import UserError
from lit_cnn.tuner import trial
from lit_cnn.tuner.auto import AUTO, resolve_auto
from lit_cnn.utils import run_log
from lit_cnn.utils.console import Display

LOWEST, HIGHEST = 1.23e-6, 10.0  # learning rates; the odd lowest value identifies the parameter groups that have it
STEPS = 100  # optimizer steps, 14 per decade; with half as many SGD learns too little to measure
DIVERGED = 4.0  # the test ends when the loss is this many times its best
SIGMA = 2.0  # steps: standard deviation of the Gaussian that smooths the losses, a seventh of a decade
MIN_DESCENT = 0.02  # the loss must fall by this share of its first value, or nothing was learned
MIN_SNR = 2.5  # and by this many times its median change from step to step


def resolve(config: Namespace, record: CheckpointRecord | None) -> None:
    """Replace ``model.lr: auto`` by a number, and print it with the reason.

    Raises:
        UserError: the test cannot run, the loss never fell, or ``model.lr_min`` is above the learning rate found.
    """
    settings = config.model
    if settings.lr != AUTO:
        return
    if settings.lr_base_size is not None:
        raise UserError(
            "`model.lr=auto` finds the learning rate for the run's own batch size: remove `model.lr_base_size`"
        )
    lr = float(
        resolve_auto("model.lr", config.trainer, record, _stored, lambda: trial.isolated_trial(lambda: _search(config)))
    )
    if settings.lr_min > lr:
        raise UserError(
            f"`model.lr_min={settings.lr_min}` is above the learning rate {lr:g} that auto found: lower it, or give "
            "`model.lr` a number"
        )
    settings.lr = lr


def _stored(record: CheckpointRecord) -> float:
    return record.config["model"]["lr"]


def _search(config: Namespace) -> tuple[float, str]:
    """The learning rate, and the reason for it."""
    options = config.trainer
    device, world_size = trial.device_and_world_size("model.lr", options)
    data = trial.build_data(config)
    # trains all parameters with the run's learning rate, from the first step on
    model = trial.build_model(
        config,
        data,
        lr=LOWEST,
        lr_scheduler="constant",
        lr_warmup_epochs=0.0,
        lr_stop=None,
        ema_decay=None,
        freeze_epochs=None,
        layer_decay=None,
        head_lr_scale=None,
    )
    test = RangeTest(Display())
    trainer = trial.build_trainer(
        options,
        device,
        callbacks=[test],
        max_epochs=-1,
        max_steps=STEPS,
        # an optimizer step sees as many images as one of the run
        accumulate_grad_batches=options.accumulate_grad_batches * world_size,
        limit_train_batches=options.limit_train_batches,
        overfit_batches=options.overfit_batches,
    )
    # the run's own model prints its report on starting weights again
    with contextlib.redirect_stdout(io.StringIO()), run_log.paused():
        try:
            trial.fit(trainer, model, data)
        finally:
            test.display.close()
    lr = suggest_lr(test.rates, test.losses)
    if lr is None:
        raise UserError(
            f"`model.lr=auto`: the loss fell at no learning rate from {LOWEST:.0e} to {test.rates[-1]:.2g} "
            f"(it was {np.mean(test.losses[:5]):.4g} at first): give a number"
        )
    tried = f"{len(test.losses)} steps from {LOWEST:.0e} to {test.rates[-1]:.2g}"
    return lr, f"between the fastest fall of the loss and its lowest point in a range test of {tried}"


class RangeTest(Callback):
    """Learning-rate range test: raise the learning rate in geometric steps and record the loss before each.

    Only parameter groups whose learning rate is :data:`LOWEST` at first are trained. Those with one of their own, such
    as the classifier's under Muon, are not: they would lower the loss at any ``lr`` and hide where ``lr`` does.

    Args:
        display: shows the progress.

    Attributes:
        rates: learning rate of each step.
        losses: mean training loss of the images of each step, before it.
    """

    def __init__(self, display: Display) -> None:
        self.display = display
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._parts: list[Tensor] = []  # losses of the batches of this step
        self._average, self._weight, self._best = 0.0, 0.0, math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the parameter groups to train.

        Raises:
            UserError: none of them has the learning rate ``model.lr``.
        """
        self._trained = [group["lr"] == LOWEST for group in trainer.optimizers[0].param_groups]
        if not any(self._trained):
            raise UserError(
                "`model.lr=auto`: no trainable parameter uses `model.lr` (with Muon, only filters do): give it any "
                "number, or unfreeze some filters"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of a new step."""
        if not self._parts:
            self.rates.append(LOWEST * (HIGHEST / LOWEST) ** (trainer.global_step / (STEPS - 1)))
            for group, trained in zip(trainer.optimizers[0].param_groups, self._trained, strict=True):
                group["lr"] = self.rates[-1] if trained else 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Record the loss of a finished step.

        Raises:
            StopTrial: after the last step, or when the loss diverges.
        """
        self._parts.append(outputs["loss"] * trainer.accumulate_grad_batches)  # Lightning divided it
        if trainer.global_step < len(self.rates):
            return  # more batches are accumulated
        loss = float(sum(self._parts)) / len(self._parts)
        self._parts = []
        if not math.isfinite(loss):
            raise trial.StopTrial
        self.losses.append(loss)
        done = len(self.losses)
        text = f"learning rate {self.rates[-1]:.1e}, loss {loss:.3g}"
        self.display.show("learning-rate range test", done, STEPS, text)
        # bias-corrected running mean, so that a single outlier does not end the test
        self._average = 0.8 * self._average + 0.2 * loss
        self._weight = 0.8 * self._weight + 0.2
        self._best = min(self._best, self._average / self._weight)
        if done == STEPS or self._average / self._weight > DIVERGED * self._best:
            raise trial.StopTrial


def suggest_lr(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Suggest a learning rate: the geometric mean of those at the steepest and lowest point of the smoothed loss.

    The steepest point alone is two to three times too low for AdamW, and beyond the lowest one training diverges.
    Rounded to two digits; None if the loss does not fall.

    Args:
        rates: learning rates in geometric steps.
        losses: loss before the step at each; as many, or one fewer where the last was not finite.
    """
    if len(losses) < 3:
        return None
    # clipped, as smoothing would spread a divergent loss over the steps before it
    clipped = np.minimum(losses, max(losses[:10]))
    smooth = gaussian_smooth(clipped)
    lowest = int(smooth.argmin())
    noise = float(np.median(np.abs(np.diff(clipped))))
    if smooth[: lowest + 1].max() - smooth[lowest] <= max(MIN_DESCENT * smooth[0], MIN_SNR * noise):
        return None
    steepest = int(np.gradient(smooth)[: lowest + 1].argmin())
    return float(f"{math.sqrt(rates[steepest] * rates[lowest]):.2g}")


def gaussian_smooth(losses: np.ndarray) -> np.ndarray:
    """Float64 (N,): Gaussian-weighted means over neighbors on both sides, which delay nothing."""
    at = np.arange(len(losses))
    weights = np.exp(-0.5 * ((at[:, None] - at) / SIGMA) ** 2)
    return weights @ losses / weights.sum(1)
