"""``lit-cnn fit --budget 10m``: as many epochs as fit into the time, found by a short trial of the same run."""

from __future__ import annotations

import contextlib
import copy
import io
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.callbacks.time_limit import parse_duration
from lit_cnn.cli import clock
from lit_cnn.cli.argv import Arguments
from lit_cnn.data import ImageFolder
from lit_cnn.errors import UserError
from lit_cnn.utils import run_log
from lit_cnn.utils.console import say
from lit_cnn.utils.datamodule import datamodule

LEAST, MOST = 10, 500  # epochs, outside of which images are made smaller or larger, and after which a run ends early
WHOLE = 40  # epochs, from which one more or less is a small part of the time
TRIAL = 0.02  # share of the time that each of two trial epochs takes
WARM_UP = 3  # steps that choose kernels and fill caches
SIZES = (64, 96, 128, 160, 192, 224)  # pixels, of photos
ENDS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.limit_train_batches")
_STOPS = "--budget decides how long the run is"


class Cost(NamedTuple):
    """What a trial has measured.

    Attributes:
        setup: seconds until the first batch.
        step: seconds of a training step.
        between: seconds between the last step of an epoch and the first of the next: validation and saving.
        end: seconds after the last epoch's: calibration and the report.
        steps: of an epoch.
        images: of an optimizer step.
        size: of the images, in pixels.
        photos: whether images of another size could be read.
    """

    setup: float
    step: float
    between: float
    end: float
    steps: int
    images: int
    size: Any
    photos: bool

    @property
    def epoch(self) -> float:
        """Seconds of an epoch."""
        return self.steps * self.step + self.between


def apply(arguments: Arguments, run: Callable[[Arguments, Sequence[Callback]], Any]) -> None:
    """Replace ``budget`` by flags for the number of epochs, and print them.

    Args:
        arguments: the command line; changed in place.
        run: runs a command line with callbacks.

    Raises:
        UserError: there is no time for a single step, or the run has another end.
    """
    assert arguments.budget is not None
    seconds = _seconds(arguments.budget)
    _check(arguments)
    budget, arguments.budget = arguments.budget, None
    cost = _trial(arguments, run, seconds)
    own = {}
    if cost.photos and "data.image_size" not in arguments.names():
        size = _size(cost, seconds - clock.elapsed())
        if size != cost.size:
            own["--data.image_size"] = str(size)
            cost = _trial(_with(arguments, own), run, seconds)
    left = seconds - clock.elapsed() - cost.setup - cost.end
    own |= _length(cost, left, budget)
    speed = cost.images / cost.step
    say(
        f"budget {budget}: {own['--trainer.max_epochs']} epochs of {cost.epoch:.1f} s ({speed:,.0f} img/s in training, "
        f"{cost.between:.1f} s for validation and saving) and {seconds - left:.0f} s for trial, start and end"
    )
    say(f"the same run again: {_again(arguments, own)}")
    arguments.flags += list(own.items())


def _check(arguments: Arguments) -> None:
    """Refuse what ends a run, and what a trial cannot measure.

    Raises:
        UserError: naming the flag.
    """
    if arguments.command != "fit" or arguments.resume is not None or arguments.ckpt_path is not None:
        raise UserError("--budget is for new runs of lit-cnn fit: leave it out; a resumed run takes --trainer.max_time")
    names = arguments.names()
    if given := next((name for name in ENDS if name in names), None):
        raise UserError(f"{_STOPS}, and so does --{given}: give one of them")
    flags = dict(arguments.flags)
    if flags.get("--trainer.devices", "1") not in ("1", "auto") or "--trainer.num_nodes" in flags:
        raise UserError("--budget measures a run on one device: with several, give --epochs")


def _seconds(text: str) -> float:
    days, hours, minutes, rest = map(int, parse_duration(text, "budget").split(":"))
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=rest).total_seconds()


def _with(arguments: Arguments, own: dict[str, str]) -> Arguments:
    changed = copy.deepcopy(arguments)
    changed.flags += list(own.items())
    return changed


def _trial(arguments: Arguments, run: Callable[[Arguments, Sequence[Callback]], Any], seconds: float) -> Cost:
    """Train for two short epochs with everything that a run does, in a folder that is deleted."""
    watch = Stopwatch(TRIAL * seconds)
    with tempfile.TemporaryDirectory(prefix="lit_cnn_budget") as folder:
        own = {
            "--trainer.default_root_dir": folder,
            "--trainer.enable_progress_bar": "false",
            "--trainer.max_epochs": str(MOST),
        }
        trial, silence = _with(arguments, own), io.StringIO()
        trial.name = None
        say("budget: a short trial measures the speed")
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence), run_log.paused():
            run(trial, [watch])
        ended = time.perf_counter()  # before the folder is deleted
    return watch.cost(ended)


def _size(cost: Cost, seconds: float) -> int:
    """The side of photos in pixels at which so many seconds are a usual number of epochs."""

    def epochs(size: int) -> float:
        return (seconds - cost.setup - cost.end) / (cost.epoch * (size / cost.size) ** 2)

    if epochs(cost.size) < LEAST:
        return next((size for size in reversed(SIZES) if size < cost.size and epochs(size) >= LEAST), SIZES[0])
    return max([size for size in SIZES if size > cost.size and epochs(size) >= 3 * LEAST], default=cost.size)


def _length(cost: Cost, seconds: float, budget: str) -> dict[str, str]:
    """Flags for so many seconds: whole epochs, or a few of fewer steps.

    Raises:
        UserError: there is no time for a step.
    """
    epochs = seconds / cost.epoch
    if epochs >= WHOLE:
        return {"--trainer.max_epochs": str(min(MOST, int(epochs)))}
    count = max(1, -(-int(seconds * 1000) // int(cost.epoch * 1000 + 1)))
    steps = int((seconds / count - cost.between) / cost.step)
    if steps < 1:
        raise UserError(
            f"--budget {budget} is too short: starting, an epoch's validation, saving and the report take "
            f"{cost.setup + cost.between + cost.end:.0f} s and a step {cost.step:.1f} s; give more time"
        )
    flags = {"--trainer.max_epochs": str(count)}
    return flags if steps >= cost.steps else {**flags, "--trainer.limit_train_batches": str(steps)}


def _again(arguments: Arguments, own: dict[str, str]) -> str:
    """The command that repeats the run exactly."""
    words, drop = [], False
    for word in arguments.typed:
        if drop or word.partition("=")[0].replace("_", "-") == "--budget":
            drop = not drop and "=" not in word
            continue
        words.append(word)
    short = {"--trainer.max_epochs": "--epochs", "--data.image_size": "--img-size"}
    words += [text for flag, value in own.items() for text in (short.get(flag, flag), value)]
    return f"lit-cnn {' '.join(map(shlex.quote, words))}"


class Stopwatch(Callback):
    """Ends two epochs after ``seconds`` each and the run with them, and measures what a run's parts take."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._created = time.perf_counter()
        self._ready = self._last = self._began = 0.0
        self._steps: list[float] = []
        self._between: list[float] = []
        self._trainer: Trainer | None = None
        self._found: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the number of steps before it is cut."""
        data = datamodule(trainer)
        size = getattr(data, "image_size", None)
        self._found = {
            "steps": int(trainer.num_training_batches),
            "images": data.batch_size * trainer.world_size,
            "size": size,
            "photos": isinstance(data, ImageFolder) and isinstance(size, int) and size >= SIZES[0],
        }

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the time of the first batch of an epoch."""
        now = time.perf_counter()
        self._ready = self._ready or now
        if batch_idx == 0:
            self._began = now
            if self._last:
                self._between.append(now - self._last)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the time of a step; end the epoch when it took long enough."""
        if trainer.strategy.root_device.type == "cuda":
            float(outputs["loss"])  # waits for the step
        now = time.perf_counter()
        if trainer.global_step > WARM_UP and batch_idx > 0:
            self._steps.append(now - self._last)
        self._last = now
        if now - self._began >= self.seconds and trainer.global_step > WARM_UP + 1:
            trainer.fit_loop.max_batches = batch_idx + 1
            trainer.val_check_batch = batch_idx + 1  # validation is due here now
        if trainer.current_epoch == 2:
            trainer.should_stop = True
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step

    def cost(self, ended: float) -> Cost:
        """What was measured, of a run that ended at ``time.perf_counter() == ended``."""
        steps = sorted(self._steps) or [self._last - self._ready]
        middle = steps[len(steps) // 10 : max(1, len(steps) - len(steps) // 10)]  # without the odd ones
        step = sum(middle) / len(middle)
        between = self._between[-1] if self._between else 0.0
        return Cost(self._ready - self._created, step, between, max(0.0, ended - self._last - between), **self._found)
