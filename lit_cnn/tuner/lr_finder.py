"""``--model.lr auto``: a learning-rate range test before a training run is built.

Smith, "Cyclical learning rates for training neural networks", 2017, section 3.3 (arXiv 1506.01186): train some steps
while the learning rate grows, and look where the loss falls.
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
from lit_cnn.tuner.auto import AUTO, settled
from lit_cnn.utils import memory
from lit_cnn.utils.console import Display

LOWEST, HIGHEST = 1.23e-6, 10.0  # learning rates; the odd lowest one marks the parameter groups that have it
STEPS = 100  # optimizer steps, 14 for each factor of ten; with half of them SGD learns too little to see
EXPLODED = 4.0  # the test ends when the loss is so many times its best
WIDTH = 2.0  # steps: standard deviation of the Gaussian that smooths the losses, a seventh of a factor of ten
DESCENT = 0.02  # the loss must come down by this share of what it was, or nothing was learned
NOISE = 2.5  # and by so many times its usual change from step to step


def settle(config: Namespace, record: CheckpointRecord | None) -> None:
    """Put a number in the place of ``model.lr: auto``, and say which and why.

    Raises:
        UserError: where the test cannot run, the loss never came down, or ``model.lr_min`` is above what was found.
    """
    settings = config.model
    if settings.lr != AUTO:
        return
    if settings.lr_base_size is not None:
        raise UserError("--model.lr auto finds the rate for the run's own batches: leave out --model.lr_base_size")
    lr = float(
        settled("model.lr", config.trainer, record, _stored, lambda: trial.without_trace(lambda: _search(config)))
    )
    if settings.lr_min > lr:
        raise UserError(
            f"model.lr_min {settings.lr_min} is above the learning rate {lr:g} that auto found: lower it, or give --lr "
            "a number"
        )
    settings.lr = lr


def _stored(record: CheckpointRecord) -> float:
    return record.config["model"]["lr"]


def _search(config: Namespace) -> tuple[float, str]:
    """The learning rate, and why it is that one."""
    options = config.trainer
    device, processes = trial.layout("model.lr", options)
    data = trial.data(config)
    # moves all that has the run's learning rate, from the first step on
    model = trial.model(
        config, data, lr=LOWEST, lr_scheduler="constant", lr_warmup_epochs=0.0, lr_stop=None, ema_decay=None
    )
    test = RangeTest(Display())
    trainer = trial.trainer(
        options,
        device,
        callbacks=[test],
        max_epochs=-1,
        max_steps=STEPS,
        # an optimizer step takes as many images as one of the run
        accumulate_grad_batches=options.accumulate_grad_batches * processes,
        limit_train_batches=options.limit_train_batches,
        overfit_batches=options.overfit_batches,
    )
    # what a model says of its weights, the run's own model says again
    with memory.out_of_memory_told("fit", config, False), contextlib.redirect_stdout(io.StringIO()):
        try:
            trial.fit(trainer, model, data)
        finally:
            test.display.close()
    lr = suggested(test.rates, test.losses)
    if lr is None:
        raise UserError(
            f"--model.lr auto: the loss came down at no learning rate from {LOWEST:.0e} to {test.rates[-1]:.2g} "
            f"(it was {np.mean(test.losses[:5]):.4g} at first): give --lr a number"
        )
    tried = f"{len(test.losses)} steps from {LOWEST:.0e} to {test.rates[-1]:.2g}"
    return lr, f"between the fastest fall of the loss and its lowest point in a range test of {tried}"


class RangeTest(Callback):
    """Raise the learning rate in geometric steps; note the loss before each.

    Only parameter groups whose learning rate is :data:`LOWEST` at first take part. Those with one of their own, such as
    the classifier under Muon, stand still: they would bring the loss down at any ``lr``, and hide where it does.

    Args:
        display: where to show the progress.

    Attributes:
        rates: learning rate of each step.
        losses: mean training loss of each step's images, before it.
    """

    def __init__(self, display: Display) -> None:
        self.display = display
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._parts: list[Tensor] = []  # losses of the batches of one step
        self._average, self._weight, self._best = 0.0, 0.0, math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find what takes part."""
        self._moves = [group["lr"] == LOWEST for group in trainer.optimizers[0].param_groups]
        if not any(self._moves):
            raise UserError(
                "--model.lr auto: nothing that trains moves by model.lr (Muon's is for filters alone): give --lr any "
                "number, or unfreeze some filters"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of the step that the batch belongs to."""
        if not self._parts:
            self.rates.append(LOWEST * (HIGHEST / LOWEST) ** (trainer.global_step / (STEPS - 1)))
            for group, moves in zip(trainer.optimizers[0].param_groups, self._moves, strict=True):
                group["lr"] = self.rates[-1] if moves else 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Note the loss of a finished step.

        Raises:
            Enough: after the last step, or when the loss is out of hand.
        """
        self._parts.append(outputs["loss"] * trainer.accumulate_grad_batches)  # Lightning divided it
        if trainer.global_step < len(self.rates):
            return  # more batches belong to this step
        loss = float(sum(self._parts)) / len(self._parts)
        self._parts = []
        if not math.isfinite(loss):
            raise trial.Enough
        self.losses.append(loss)
        done = len(self.losses)
        text = f"learning rate {self.rates[-1]:.1e}, loss {loss:.3g}"
        self.display.show("lr", "learning-rate range test", done, STEPS, text)
        # a running mean in which one wild batch counts little; of few losses it is their plain mean
        self._average = 0.8 * self._average + 0.2 * loss
        self._weight = 0.8 * self._weight + 0.2
        self._best = min(self._best, self._average / self._weight)
        if done == STEPS or self._average / self._weight > EXPLODED * self._best:
            raise trial.Enough


def suggested(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The learning rate half-way, in factors, from the steepest to the lowest point of the smoothed loss, if it falls.

    The fastest fall alone is two to three times too careful for AdamW, and the lowest loss is where trouble begins.
    To two digits: more would say nothing.

    Args:
        rates: learning rates in geometric steps.
        losses: loss before the step at each; as many, or one less where the last was not finite.
    """
    if len(losses) < 3:
        return None
    # what is worse than at first is just that: else a loss that explodes would reach back into the steps before
    kept = np.minimum(losses, max(losses[:10]))
    smooth = smoothed(kept)
    lowest = int(smooth.argmin())
    noise = float(np.median(np.abs(np.diff(kept))))
    if smooth[: lowest + 1].max() - smooth[lowest] <= max(DESCENT * smooth[0], NOISE * noise):
        return None
    steepest = int(np.gradient(smooth)[: lowest + 1].argmin())
    return float(f"{math.sqrt(rates[steepest] * rates[lowest]):.2g}")


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Float64 (N,): weighted means over neighbours on both sides, so that nothing moves to later steps."""
    at = np.arange(len(losses))
    weights = np.exp(-0.5 * ((at[:, None] - at) / WIDTH) ** 2)
    return weights @ losses / weights.sum(1)
