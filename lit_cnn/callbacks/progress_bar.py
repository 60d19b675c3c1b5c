"""Progress of a run: a live bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar
from rich.console import Console

from lit_cnn.utils import throughput
from lit_cnn.utils.console import Display
from lit_cnn.utils.throughput import Meter, batches, clock, columns, epoch_of, speed, speed_and_clock, time_left

LABEL, LEAST_BAR = len("epoch 10/10"), 5


class ProgressBar(LightningProgressBar):
    """Shows where a run is: epoch, batch, running loss and accuracy, images/s, time left; then a line for each epoch.

        epoch  3/10  loss 0.412 acc 0.861  val/loss 0.390 acc 0.870  1,234 img/s    12 s

    Numbers stay in their columns from line to line, of which there are at most 80 for up to 99 epochs. On a terminal
    there is a bar below these lines, drawn again every ``refresh_seconds``. Elsewhere (a file, a pipe) there are only
    lines: one an epoch, and one every ``line_seconds`` within a long one.

    The running loss is a moving average of the training step's ``outputs["loss"]``, the running accuracy one of
    ``outputs["acc"]``, or what the module logs as ``train/acc`` per step. Both stay on the device between refreshes,
    for reading a value makes the device finish its work first. Images/s counts all ranks, and training only.

    Args:
        refresh_seconds: Least time between two updates of the bar.
        line_seconds: Least time between two plain lines within an epoch.
        console: Where to write; standard output by default.
    """

    def __init__(
        self, refresh_seconds: float = 0.2, line_seconds: float = 30.0, console: Console | None = None
    ) -> None:
        super().__init__()
        self._refresh_seconds = refresh_seconds
        self._line_seconds = line_seconds
        self._display = Display(console)
        self._enabled = True
        self._next = 0.0  # when to show something again
        # Of training.
        self._names, self._val_names = throughput.names_of("acc")
        self._meter = Meter()
        self._done, self._total = 0, 0.0  # batches of the epoch
        self._epoch_text = ""
        self._epoch_began = 0.0
        self._before_epoch = (0, 0.0)  # images and seconds of the meter when the epoch began
        self._pause = 0.0  # seconds of an epoch that are no training: validation, checkpoints
        self._ended: int | None = None  # an epoch whose line is still to be written
        self._validated = False
        self._averages: dict[str, torch.Tensor] = {}
        self._stale: dict[str, torch.Tensor] = {}  # logged metrics as they were before the epoch
        # Of validation, test or prediction.
        self._eval_name = ""
        self._eval_meter = Meter()
        self._eval_total = 0.0

    @property
    def console(self) -> Console:
        """Where this writes. What others print there while the bar is up comes out above the bar."""
        return self._display.console

    def disable(self) -> None:
        """Show nothing; Lightning calls it on all ranks but rank zero."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print ``args`` above the bar."""
        self._display.line(str(kwargs.get("sep", " ")).join(str(arg) for arg in args))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure. A run resumed within an epoch comes here and not to ``on_train_epoch_start``."""
        self._names, self._val_names = throughput.names_of(getattr(pl_module, "score", "acc"))
        self._meter = Meter()
        self._pause, self._ended = 0.0, None
        self._begin_epoch(trainer, done=trainer.fit_loop.batch_idx + 1)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line of the epoch before: only now, after the epoch-end hooks, are all its metrics there."""
        self._end_epoch(trainer)
        self._begin_epoch(trainer, done=0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch and, if it is time, show the numbers."""
        if not self._enabled:
            return
        now = time.monotonic()
        self._done = batch_idx + 1
        self._meter.step(_images(batch) * trainer.world_size, now)
        if isinstance(outputs, Mapping):
            for name in self._names:
                self._average(name, outputs.get(name.removeprefix("train/")))
        if now < self._next:
            return
        numbers, rate = self._running(trainer), speed(self._meter.images_per_second)
        _, left = time_left(trainer, self._meter, self._total - self._done, self._pause)
        if self._display.live:
            parts = columns(numbers, self._names), *speed_and_clock(rate, left)
            self._show_epoch(trainer, self._bar_text(*parts, total=self._total))
        else:
            free = self._validation(trainer, {})  # these columns are, during training
            where = f"batch {self._done}/{batches(self._total)} {clock(left)} left".ljust(len(free))
            at, fast = f"epoch {epoch_of(trainer)}", f"{rate:>{throughput.SPEED}}"
            self._line(at, columns(numbers, self._names), where, fast)
        self._rest()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that an epoch ended."""
        self._ended = trainer.current_epoch

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last epoch's line and take the bar away."""
        self._end_epoch(trainer)
        self._display.close()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what the first seconds of a run go to."""
        self._begin_evaluation("sanity check", trainer.num_sanity_val_batches)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        self._display.close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put up a bar; within a fit it takes the place of the epoch's."""
        if trainer.sanity_checking:
            return
        self._meter.pause()
        self._begin_evaluation("validate", trainer.num_val_batches)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch."""
        self._evaluated(trainer, batch)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resume measuring training, or write a line."""
        if trainer.state.fn != "fit":
            self._end_evaluation(trainer)
        elif not trainer.sanity_checking:
            self._validated = True
            self._show_epoch(trainer)
            self._meter.resume(time.monotonic())

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put up a bar."""
        self._begin_evaluation("test", trainer.num_test_batches)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away and write a line."""
        self._end_evaluation(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put up a bar."""
        self._begin_evaluation("predict", trainer.num_predict_batches)

    on_predict_end = on_test_end

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the terminal back and say where training stopped. Reads no metric: the device may be what failed."""
        self._display.close()
        if self._enabled and trainer.state.fn == "fit" and self._done:
            at = f"batch {self._done}/{batches(self._total)}"
            self._display.line(f"stopped in epoch {epoch_of(trainer)} after {at}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the terminal back, whatever happened."""
        self._display.close()

    def _begin_epoch(self, trainer: Trainer, done: int) -> None:
        if not self._enabled:
            return
        now = time.monotonic()
        total = float(trainer.num_training_batches)
        self._done = done if done < total else 0  # resumed between two epochs: all batches of the earlier one
        if trainer.max_steps > 0:
            total = min(total, self._done + (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches)
        self._total = total
        self._epoch_began = now
        self._before_epoch = self._meter.images, self._meter.seconds
        self._meter.resume(now)
        self._validated, self._averages = False, {}
        metrics = trainer.callback_metrics
        self._stale = {name: metrics[name] for name in self._names if name in metrics}
        parts = columns({}, self._names), *speed_and_clock(speed(0.0), None)
        self._show_epoch(trainer, self._bar_text(*parts, total=self._total))
        self._rest()

    def _end_epoch(self, trainer: Trainer) -> None:
        """Write the line of the epoch that ended."""
        epoch, self._ended = self._ended, None
        images, seconds = self._meter.images - self._before_epoch[0], self._meter.seconds - self._before_epoch[1]
        # A run resumed after the last batch of an epoch ends it without training: its line was written before.
        if epoch is None or not self._enabled or not (images or self._validated):
            return
        took = time.monotonic() - self._epoch_began
        self._pause = took - seconds
        found = trainer.callback_metrics
        metrics = {name: float(found[name]) for name in (*self._names, *self._val_names) if name in found}
        # of an earlier epoch where this one was not validated
        validation = self._validation(trainer, metrics if self._validated else {})
        rate = speed(images / seconds) if seconds > 0 else ""
        numbers = f"{rate:>{throughput.SPEED}}", f"{clock(took):>{throughput.CLOCK}}"
        self._line(f"epoch {epoch_of(trainer, epoch)}", columns(metrics, self._names), validation, *numbers)

    def _validation(self, trainer: Trainer, metrics: Mapping[str, float]) -> str:
        """The columns of validation, none where there is no validation."""
        return columns(metrics, self._val_names) if trainer.enable_validation else ""

    def _line(self, epoch: str, train: str, other: str, *numbers: str) -> None:
        gap = "  " if len(epoch) <= LABEL else " "
        self._display.line(" ".join([gap.join(part for part in (epoch, train, other) if part), *numbers]).rstrip())

    def _bar_text(self, *parts: str, total: float) -> str:
        """The text beside a bar: as many parts as there is room for; the last one is the most important."""
        found = list(parts)
        taken = LABEL + LEAST_BAR + 2 * len(batches(total)) + 4  # with the spaces between
        while len(found) > 1 and len("  ".join(found)) + taken > self.console.width:
            found.pop(-2)
        return "  ".join(found)

    def _show_epoch(self, trainer: Trainer, text: str | None = None) -> None:
        """Draw the epoch's bar, with the text it had if there is no new one."""
        self._epoch_text = self._epoch_text if text is None else text
        self._display.show(f"epoch {epoch_of(trainer)}", self._done, self._total, self._epoch_text)

    def _begin_evaluation(self, name: str, num_batches: float | list[int | float]) -> None:
        if not self._enabled:
            return
        self._eval_name, self._eval_meter = name, Meter()
        self._eval_total = float(sum(num_batches) if isinstance(num_batches, list) else num_batches)
        self._eval_meter.resume(time.monotonic())
        text = self._bar_text(*speed_and_clock(speed(0.0), None), total=self._eval_total)
        self._display.show(name, 0, self._eval_total, text)
        self._rest()

    def _evaluated(self, trainer: Trainer, batch: Any) -> None:
        """Count a batch of validation, test or prediction."""
        if not self._enabled:
            return
        now, meter, total = time.monotonic(), self._eval_meter, self._eval_total
        meter.step(_images(batch) * trainer.world_size, now)
        if now < self._next:
            return
        left = (total - meter.batches) * meter.seconds_per_batch if meter.seconds_per_batch else None
        parts = speed_and_clock(speed(meter.images_per_second), left)
        if self._display.live:
            self._display.show(self._eval_name, meter.batches, total, self._bar_text(*parts, total=total))
        else:
            at = f"batch {meter.batches:>{len(batches(total))}}/{batches(total)}"
            self._display.line("  ".join([self._eval_name, at, *parts]))
        self._rest()

    def _end_evaluation(self, trainer: Trainer) -> None:
        """Write what a validate, test or predict run came to. The numbers themselves are the report's business."""
        meter = self._eval_meter
        self._display.close()
        if self._enabled and meter.seconds > 0:
            rate = speed(meter.images / meter.seconds)  # over all of it, the start included
            done = f"{meter.batches}/{batches(self._eval_total)} batches"
            self._display.line(f"{self._eval_name}  {done}  {rate}  {clock(meter.seconds)}")

    def _rest(self) -> None:
        """Put the next refresh off. Counted from here, so that a slow terminal does not take all the time."""
        self._next = time.monotonic() + (self._refresh_seconds if self._display.live else self._line_seconds)

    def _average(self, name: str, value: Any) -> None:
        """Move the running average by 5% to a step's value, on the value's device, without waiting for it."""
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.detach().float()
            average = self._averages.get(name)
            self._averages[name] = value.clone() if average is None else average.lerp_(value, 0.05)

    def _running(self, trainer: Trainer) -> dict[str, float]:
        """Return the running loss and accuracy by name. This is where the device is waited for."""
        # Lightning divides the loss by the number of batches whose gradients are added up.
        scale = {"train/loss": trainer.accumulate_grad_batches}
        found = {name: float(value) * scale.get(name, 1) for name, value in self._averages.items()}
        if missing := [name for name in self._names if name not in found]:
            metrics = trainer.callback_metrics
            for name in missing:
                value = metrics.get(f"{name}_step", metrics.get(name))
                if value is not None and value is not self._stale.get(name):
                    found[name] = float(value)
        return found


def _images(batch: Any) -> int:
    """Return the number of images of a ``Batch``, or of a plain tuple that begins with them."""
    image = getattr(batch, "image", None)
    return len(image if image is not None else batch[0])
