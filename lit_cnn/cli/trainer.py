"""The trainer of a run: its callbacks as one ordered list, its loggers and its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.profilers import (
    AdvancedProfiler,
    PassThroughProfiler,
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)

from lit_cnn import run_folder
from lit_cnn.callbacks.bad_images import BadImages
from lit_cnn.callbacks.calibration import CalibrateOnValidation
from lit_cnn.callbacks.csv_logger import MetricsCSV
from lit_cnn.callbacks.curves import Curves
from lit_cnn.callbacks.evaluation import EvaluationReport
from lit_cnn.callbacks.feature_cache import FeatureCache
from lit_cnn.callbacks.last_checkpoint import LastCheckpoint
from lit_cnn.callbacks.nan_guard import NanGuard
from lit_cnn.callbacks.ood import FitOODDetector
from lit_cnn.callbacks.overview import Overview
from lit_cnn.callbacks.progress_bar import ProgressBar
from lit_cnn.callbacks.restoration_report import RestorationReport
from lit_cnn.callbacks.run_facts import RunFacts
from lit_cnn.callbacks.run_metadata import RunMetadata
from lit_cnn.callbacks.stop_report import StopReport
from lit_cnn.callbacks.tensorboard import TensorBoardExtras
from lit_cnn.callbacks.throughput_report import ThroughputReport
from lit_cnn.callbacks.time_limit import TimeLimit, exact
from lit_cnn.callbacks.train_batch import TrainBatch
from lit_cnn.callbacks.validation_report import ValidationReport
from lit_cnn.checkpoint.interval import SaveInterval
from lit_cnn.checkpoint.io import AtomicCheckpointIO
from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli.config import Difference
from lit_cnn.cli.logger_folders import build_loggers
from lit_cnn.cli.monitoring import patience_callback
from lit_cnn.distributed.watchdog import ProcessWatchdog
from lit_cnn.errors import UserError
from lit_cnn.utils.rank import is_rank_zero


@dataclass
class Run:
    """The command and its settings, as callbacks need them.

    Attributes:
        command: fit, validate, test or predict.
        config: its parsed settings.
        plain: the same as nested plain types, for config.yaml and the checkpoints.
        record: the checkpoint that the command starts from, if any.
        resume_anyway: resume although what decides the order of the samples has changed.
        requires: packages of the user's that the model, the loss, the data set or a transform come from.
        task: kind of the task.
        folder: the run folder; ``None`` where the command leaves none behind, or makes it later.
        changed: settings that differ from the defaults, or from the checkpoint.
    """

    command: str
    config: Namespace
    plain: dict[str, Any]
    record: CheckpointRecord | None
    resume_anyway: bool
    requires: list[str]
    task: str = "classification"
    folder: Path | None = None
    changed: Sequence[Difference] = ()

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether checkpoints are written: not for evaluations, nor for a trial of the code (``fast_dev_run``)."""
        trainer = self.config.trainer
        return self.command == "fit" and trainer.enable_checkpointing is not False and not trainer.fast_dev_run

    @property
    def checkpoints(self) -> Path | None:
        """Absolute folder of the checkpoints."""
        return (self.folder / "checkpoints").resolve() if self.folder is not None else None


def ordered_callbacks(
    run: Run,
    watchdog: ProcessWatchdog,
    users: Sequence[Callback],
    extra: Sequence[Callback],
    best: Sequence[Callback],
    report: EvaluationReport | RestorationReport | None,
) -> list[Callback]:
    """All callbacks of a trainer in the order in which Lightning calls them, each with the reason for its position.

    The model's own (weight averaging) are added by Lightning when fit starts, before those that write checkpoints,
    which Lightning keeps last.

    Args:
        run: the command and its settings.
        watchdog: watches the other ranks.
        users: ``trainer.callbacks`` of the settings.
        extra: given by a Python caller.
        best: ``checkpoint`` of the settings: best.ckpt, and other ModelCheckpoints that the settings configure.
        report: of an evaluation.
    """
    fits, folder = run.command == "fit", run.folder
    bar = run.config.trainer.enable_progress_bar is not False
    shows_progress = bar and not any(isinstance(callback, LightningProgressBar) for callback in (*users, *extra))
    last = run.checkpoints / "last.ckpt" if run.checkpoints and run.keeps_checkpoints else None
    ordered: list[Callback] = [
        watchdog,  # connects the ranks in setup, before anything that could fail on one of them alone
        *map(exact, users),  # before ours: what they change or log is seen by those below
        *extra,
    ]
    if fits:
        ordered += patience_callback(run.config)
        if run.config.trainer.max_time is not None:
            ordered.append(TimeLimit(run.config.trainer.max_time))  # in place of Lightning's own
    if fits and run.record is None:
        ordered.append(Overview())  # before the bar, which is below it
    if shows_progress:
        ordered.append(ProgressBar())
    if shows_progress and fits:
        ordered.append(ThroughputReport())  # after the bar, which writes the line of a finished epoch first
    if fits:
        ordered.append(StopReport())  # after the bar too
    if fits and folder is not None:
        validation = CalibrateOnValidation()
        # add to what RunMetadata writes into checkpoints
        of_classes = [validation, FitOODDetector()] if run.task == "classification" else []
        ordered += [
            # refuses an inexact resume in setup, before the ones below touch the folder's files
            RunMetadata(run.plain, folder, run.record, run.resume_anyway, run.requires),
            NanGuard(run.config.skip_nonfinite_steps, last),  # checks the loss before anything is saved
            Curves(),  # draws what the loggers have written
            BadImages(folder),
            *of_classes,
            RunFacts(folder, run.changed if run.record is None else None),  # into the run.json that RunMetadata began
            TrainBatch(folder),
        ]
        if of_classes:
            ordered.append(ValidationReport(folder, validation))  # after the time of training was taken
        ordered.append(TensorBoardExtras(folder))  # after those that write the pictures
    if fits:
        ordered.append(FeatureCache())  # after the refusal of an inexact resume
    if report is not None:
        ordered.append(report)
    if run.keeps_checkpoints:
        ordered += best  # after the epoch's metrics are final
    else:
        ordered += [callback for callback in best if not isinstance(callback, ModelCheckpoint)]
    if last is not None:
        # after the best one, so that last.ckpt records this epoch's best too
        ordered.append(LastCheckpoint(last.parent, SaveInterval.parse(run.config.checkpoint_every)))
    return ordered


def make_run_folder(root: Path, record: CheckpointRecord | None, name: str | None = None) -> Path:
    """The folder of a training run: its own again when it is resumed, else a new one, locked for this process.

    It is made now, so that two runs that start together cannot both take the same number.

    Raises:
        UserError: it cannot be written, or another process trains in it.
    """
    folder = run_folder.run_folder_of(record.path) if record is not None else None
    if not is_rank_zero():
        return folder or root / run_folder.LOGS / "unknown"  # rank zero writes, and broadcasts the checkpoints' folder
    if folder is None:
        folder = run_folder.new_run_folder(root, name)
    try:
        run_folder.lock(folder)
        if run_folder.is_new(folder):
            run_folder.write_start(folder)
    except BaseException as error:
        run_folder.discard(folder)
        if isinstance(error, OSError):
            raise UserError(f"cannot write the run folder {folder}: {error.strerror}") from error
        raise
    return folder


def loggers(folder: Path, record: CheckpointRecord | None, chosen: Any) -> Any:
    """metrics.csv, and the user's loggers or else TensorBoard's events, all in the run folder; or none.

    Args:
        folder: the run folder.
        record: the checkpoint that the run is resumed from, if any.
        chosen: parsed ``trainer.logger`` of the settings.
    """
    if chosen is False:
        return False
    # on resume, events past the checkpoint are dropped, as they are going to be written again
    purge: dict[str, Any] = {}
    if record is not None:
        purge["purge_step"] = record.step - record.truncated  # a truncated epoch's last step holds half an epoch
    if chosen in (None, True):
        return [MetricsCSV(folder), TensorBoardLogger(str(folder), "", "", default_hp_metric=False, **purge)]
    return [MetricsCSV(folder), *build_loggers(chosen, folder, purge)]


def plugins(chosen: Any) -> list[Any]:
    """The user's trainer plugins, with atomic checkpoint files unless they bring another way to write them."""
    given = list(chosen) if isinstance(chosen, (list, tuple)) else [chosen] if chosen else []
    if any(isinstance(plugin, CheckpointIO) for plugin in given):
        return given
    return [*given, AtomicCheckpointIO()]


_PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


def profiler(chosen: Any, folder: Path | None) -> Profiler:
    """The profiler of a run; its report goes to a file in ``folder``, unless it is told otherwise.

    Args:
        chosen: built ``trainer.profiler`` of the settings: a name or a profiler.
        folder: the run folder; ``None`` where there is none, or where it is made later.
    """
    if chosen is None or type(chosen) is PassThroughProfiler:
        return NullProfiler()
    found: Profiler = _PROFILERS[chosen.lower()]() if isinstance(chosen, str) else chosen
    if folder is not None:
        _place_report(found, folder)
    return found


def place_report(trainer: Trainer, folder: Path) -> None:
    """Let the trainer's profiler write its report to a file in ``folder``, where its settings name no other."""
    _place_report(trainer.profiler, folder)  # type: ignore[attr-defined]  # untyped in Lightning


def _place_report(profiler: Profiler, folder: Path) -> None:
    if profiler.dirpath is None and not isinstance(profiler, PassThroughProfiler):
        profiler.dirpath = folder
        profiler.filename = profiler.filename or "profile"


_NOTHING = contextlib.nullcontext()


class NullProfiler(PassThroughProfiler):
    """No profiler: Lightning's own for runs without one makes a context manager around every hook of every callback.

    These are more than a hundred a step, and take a twentieth of LeNet's.
    """

    def profile(self, action_name: str) -> Any:
        """Do nothing around the action."""
        return _NOTHING
