"""Metrics that a run is judged by: the direction in which they improve, ``patience``, and runs that stopped early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import EarlyStopping

from lit_cnn.callbacks.time_limit import parse_duration
from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.checkpoint_options import check_checkpoint_options
from lit_cnn.cli.config import contents, flatten
from lit_cnn.cli.metrics import check_metric, mode_of
from lit_cnn.cli.trained_task import data_task
from lit_cnn.cli.trainer_classes import Given, given
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say

# Callbacks of Lightning's that log metrics of their own.
_LOGGING = ("LearningRateMonitor", "DeviceStatsMonitor", "ThroughputMonitor")


def check(config: Namespace, arguments: Arguments, base: Mapping[str, Any], record: CheckpointRecord | None) -> None:
    """Refuse settings that keep the wrong checkpoints or stop at the wrong time, and fill in what follows from others.

    Args:
        config: parsed settings of ``fit``; changed in place.
        arguments: the command line.
        base: settings that come from the checkpoint.
        record: the checkpoint that the run is resumed from, if any.

    Raises:
        UserError: naming the setting.
    """
    if config.trainer.max_time is not None:
        config.trainer.max_time = parse_duration(config.trainer.max_time, "trainer.max_time")
    _resolve_modes(config, arguments, base, record)
    task = data_task(str(config.data.class_path))
    check_checkpoint_options(config, task.measured)
    _check_callbacks(config, task.measured)
    _check_patience(config)
    if record is not None:
        _refuse_stopped(record, config)


def _resolve_modes(
    config: Namespace, arguments: Arguments, base: Mapping[str, Any], record: CheckpointRecord | None
) -> None:
    """Set the mode of the checkpoint and of EarlyStopping by the metric's name, where none is given."""
    checkpoint = config.checkpoint
    names = arguments.names().union(*(flatten(content) for content in contents(arguments).values()))
    if "checkpoint.mode" in names:
        if checkpoint.monitor and checkpoint.mode != mode_of(checkpoint.monitor):
            extreme = "highest" if checkpoint.mode == "max" else "lowest"
            say(f"note: `checkpoint.mode={checkpoint.mode}` keeps the epoch with the {extreme} {checkpoint.monitor}")
    elif checkpoint.monitor and (record is None or record.config["checkpoint"]["monitor"] != checkpoint.monitor):
        checkpoint.mode = mode_of(checkpoint.monitor)
    parsed, written = config.trainer.callbacks or [], given("callbacks", arguments, base)
    if len(parsed) != len(written):
        return
    for item, raw in zip(parsed, written, strict=True):
        if _is_early_stopping(item) and "mode" not in raw.init_args:
            item.init_args.mode = mode_of(item.init_args.monitor)


def _check_callbacks(config: Namespace, measured: Sequence[str]) -> None:
    """Refuse metrics that callbacks cannot find, two limits of the time, and two averages of the weights.

    Raises:
        UserError: naming the callback.
    """
    items = config.trainer.callbacks or []
    classes = [Given(str(item.class_path)) for item in items]
    names = {c.short for c in classes if c.is_lightnings}
    if config.trainer.max_time is not None and "Timer" in names:
        raise UserError("--trainer.max_time and the callback Timer both limit the time: give one of them")
    if averages := sorted(names & {"WeightAveraging", "EMAWeightAveraging"}):
        if config.model.ema_decay is not None or len(averages) > 1:
            other = averages[1] if len(averages) > 1 else "--model.ema_decay"
            raise UserError(f"{averages[0]} and {other} both average the weights: give one of them")
        if config.trainer.strategy == "fsdp":
            raise UserError(f"{averages[0]} needs full weights, which --trainer.strategy fsdp shards: use ddp")
    logging = [c.short for c in classes if c.is_lightnings and c.short in _LOGGING]
    if logging and config.trainer.logger is False:
        raise UserError(f"{logging[0]} needs a logger: leave --trainer.logger false out")
    if logging or not all(c.is_lightnings for c in classes):
        return  # these may log further metrics
    for item, cls in zip(items, classes, strict=True):
        monitor = item.get("init_args", Namespace()).get("monitor")
        if cls.short in ("EarlyStopping", "ModelCheckpoint") and monitor is not None:
            check_metric(f"trainer.callbacks.monitor of {cls.short}", monitor, measured)
            if cls.short == "EarlyStopping":
                _check_validates(config, monitor, "EarlyStopping")


def _check_patience(config: Namespace) -> None:
    """Refuse a ``patience`` that has nothing to watch; one beside an EarlyStopping of the same metric becomes its own.

    Raises:
        UserError: saying what it needs.
    """
    patience, checkpoint = config.patience, config.checkpoint
    if patience is None:
        return
    if patience < 1:
        raise UserError(f"--patience {patience}: give at least 1 epoch, or leave it out")
    if checkpoint.monitor is None:
        score = data_task(str(config.data.class_path)).score
        raise UserError(f"--patience needs a metric to watch: --checkpoint.monitor val/{score}")
    _check_validates(config, checkpoint.monitor, "--patience")
    for item in config.trainer.callbacks or []:
        if _is_early_stopping(item) and _key(item.init_args) == _key(checkpoint):
            item.init_args.patience = patience


def _check_validates(config: Namespace, monitor: str, who: str) -> None:
    if monitor.startswith("val/") and config.trainer.limit_val_batches == 0:
        raise UserError(
            f"{who} watches {monitor}, and --trainer.limit_val_batches 0 measures none: leave that out, or watch "
            f"{monitor.replace('val/', 'train/').removesuffix('_top5')}"
        )


def patience_callback(config: Namespace) -> list[EarlyStopping]:
    """The callback for ``patience``: none where it is not set, or where the callbacks have one for that metric."""
    checkpoint = config.checkpoint
    taken = [_key(i.init_args) for i in config.trainer.callbacks or [] if _is_early_stopping(i)]
    if config.patience is None or _key(checkpoint) in taken:
        return []
    at_epoch_end = True if checkpoint.monitor.startswith("train/") else None
    return [
        EarlyStopping(
            checkpoint.monitor,
            patience=config.patience,
            mode=checkpoint.mode,
            check_on_train_epoch_end=at_epoch_end,
        )
    ]


def _refuse_stopped(record: CheckpointRecord, config: Namespace) -> None:
    """Refuse to resume a run that early stopping has ended, as it would stop again at once.

    Raises:
        UserError: with the reason of the stop, and how to resume.
    """
    trainer = config.trainer
    if record.epoch < (trainer.min_epochs or 0) or record.step < (trainer.min_steps or 0):
        return
    stored = [c for c in record.config["trainer"].get("callbacks") or [] if isinstance(c, dict)]
    for key, patience, init_args in _early_stoppings(config):
        if (stop := record.early_stops.get(f"EarlyStopping{key}")) is None:
            continue
        flags = ["--trainer.callbacks null"] * bool(init_args) + ["--patience null"] * bool(config.patience)
        drop = f"without early stopping, {' '.join(flags)}"
        if stop.out_of_patience:
            if patience > stop.waited:
                continue
            times = f"{stop.waited} {'time' if stop.waited == 1 else 'times'} in a row"
            more = f"with --patience {stop.waited + 10}, or " if _key(config.checkpoint) == key else ""
            raise UserError(
                f"{record.path} has stopped early: {key['monitor']} had not improved {times}; resume {more}{drop}"
            )
        if init_args in [c.get("init_args") for c in stored]:
            raise UserError(
                f"{record.path} has stopped early: {key['monitor']} reached a threshold of EarlyStopping, or was not "
                f"finite; resume {drop}"
            )


def _early_stoppings(config: Namespace) -> Iterator[tuple[dict[str, str], int, dict[str, Any]]]:
    """What the run's EarlyStoppings are told apart by, their patience and their settings."""
    for item in config.trainer.callbacks or []:
        if _is_early_stopping(item):
            yield _key(item.init_args), item.init_args.patience, item.init_args.as_dict()
    for callback in patience_callback(config):
        yield _key(config.checkpoint), callback.patience, {}


def _is_early_stopping(item: Namespace) -> bool:
    cls = Given(str(item.class_path))
    return cls.is_lightnings and cls.short == "EarlyStopping"


def _key(settings: Any) -> dict[str, str]:
    return {"monitor": settings.monitor, "mode": settings.mode}
