"""Run metadata: config.yaml in the run folder, and the record that makes a checkpoint enough on its own."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from lit_cnn import __version__, run_folder
from lit_cnn.callbacks.csv_logger import MetricsCSV
from lit_cnn.checkpoint.compatibility import (
    incompatibilities,
    needed_to_repeat,
    other_numerics,
    rescale_progress,
    resume_key,
)
from lit_cnn.checkpoint.progress import can_resume_exactly, mark_mid_epoch
from lit_cnn.checkpoint.record import KEY, CheckpointRecord, absolute_data_dir
from lit_cnn.checkpoint.renamed_models import MODEL_NAMES, RENAMINGS, run_header
from lit_cnn.errors import UserError
from lit_cnn.results.run_state import TRAINING, describe, write_state
from lit_cnn.utils import yaml_text
from lit_cnn.utils.console import say
from lit_cnn.utils.datamodule import datamodule
from lit_cnn.utils.files import atomic_write


class RunMetadata(Callback):
    """Write ``config.yaml`` and ``run.json`` when training starts, and add ``checkpoint["lit_cnn"]`` at every save.

    Args:
        config: resolved settings, nested plain types.
        run_dir: the run folder.
        record: the checkpoint that the run is resumed from, if any.
        anyway: resume although what decides the order of the samples has changed.
        requires: packages of the user's that the model, the loss, the data set or the transform come from.
    """

    def __init__(
        self,
        config: dict[str, Any],
        run_dir: Path,
        record: CheckpointRecord | None = None,
        anyway: bool = False,
        requires: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.run_dir = run_dir
        self._data_dir = absolute_data_dir(config)  # before anything changes the working folder
        self.record, self.anyway, self.requires = record, anyway, list(requires)
        self._key: dict[str, Any] = {}
        self._changed: list[str] = []  # of the samples
        self._inexact: list[str] = []  # of the bits

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare the resume key with the checkpoint's.

        Raises:
            UserError: with all differences in one line, unless the user asked for ``resume_anyway``.
        """
        if stage != "fit":
            return
        self._key = resume_key(trainer)
        if trainer.strategy.root_device.type == "cuda" and (needed := needed_to_repeat(self._key)):
            say(f"note: on a GPU a run repeats, and resumes, bit for bit only with {needed}")
        if self.record is None:
            return
        self._inexact = other_numerics(self.record.resume_key, self._key)
        if self._inexact:
            say(
                "note: the bits can differ from those of a run that was never stopped, since these differ "
                f"(checkpoint -> now): {', '.join(self._inexact)}"
            )
        self._changed = incompatibilities(self.record.resume_key, self._key)
        if not self._changed:
            return
        listed = ", ".join(self._changed)
        if not self.anyway:
            raise UserError(
                f"{self.record.path} cannot be resumed exactly, because these differ (checkpoint -> now): {listed}; "
                "set them back, or resume with `resume_anyway`"
            )
        say(f"resume_anyway: from here on this run differs from one that was never stopped: {listed}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write config.yaml and run.json; on resume an earlier, different one is kept beside it."""
        if not trainer.is_global_zero:
            return
        if run_folder.is_new(self.run_dir):  # a run that did not come so far leaves none
            say(f"run folder: {run_folder.format_path(self.run_dir)}")
        path = self.run_dir / "config.yaml"
        header = run_header(__version__)
        if (changed := self._changed + self._inexact) and self.record is not None:
            header += f"# resumed inexactly at step {self.record.step}: {', '.join(changed)}\n"
        text = header + yaml_text.dump(self.config)
        if path.exists() and path.read_text(encoding="utf-8") != text:
            earlier = len(list(self.run_dir.glob("config.before_resume_*.yaml"))) + 1
            with atomic_write(self.run_dir / f"config.before_resume_{earlier}.yaml") as file:
                file.write(path.read_text(encoding="utf-8"))
        with atomic_write(path) as file:
            file.write(text)
        if indices := {str(index): name for index, name in enumerate(datamodule(trainer).class_names)}:
            with atomic_write(self.run_dir / "class_indices.json") as file:
                file.write(json.dumps(indices, indent=2, ensure_ascii=False) + "\n")
        write_state(self.run_dir, **describe(self.config), state=TRAINING, reason=None, epoch=None, step=None)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the history of the best checkpoints when the run folder was moved or renamed."""
        if self._changed and self.record is not None:
            rescale_progress(checkpoint, self.record.resume_key, self._key, by_epochs=trainer.max_steps == -1)
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key)
            if not isinstance(callback, ModelCheckpoint) or state is None or state["dirpath"] == callback.dirpath:
                continue
            here = Path(str(callback.dirpath))
            if not (here / Path(state["best_model_path"]).name).is_file():
                # a checkpoint that was copied out of its run folder: there is no best one here to beat
                state["best_model_path"] = ""
            else:
                state["dirpath"] = str(here)
                for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
                    state[key] = str(here / Path(state[key]).name) if state.get(key) else state.get(key)
                state["best_k_models"] = {str(here / Path(p).name): v for p, v in state["best_k_models"].items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop what the loggers of a resumed run wrote past the checkpoint."""
        if not trainer.is_global_zero:
            return
        within = 0 < trainer.fit_loop.epoch_loop.batch_progress.current.ready < trainer.num_training_batches
        step, row = trainer.global_step, {}
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                row = logger.resume_at(step, within_epoch=within)
        if self.record is not None and self.record.truncated and row:
            for logger in trainer.loggers:  # dropped from the events with the half epoch's numbers
                if isinstance(logger, TensorBoardLogger):
                    logger.log_metrics({name: float(value) for name, value in row.items()}, step - 1)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add settings, class names, preprocessing, split, fingerprint and versions."""
        for logger in trainer.loggers:  # what was logged before a checkpoint is on the disk before it
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                logger.experiment.flush()
            elif isinstance(logger, MetricsCSV):
                logger.save()
        data = datamodule(trainer)
        checkpoint[KEY] = {
            "config": self.config,
            "data_dir": self._data_dir,
            "task": data.task,
            "class_names": list(data.class_names),
            "preprocessing": data.preprocessing(),
            "fingerprint": data.fingerprint(),
            "split": data.split_state(),
            "order": self._key,
            "requires": self.requires,
            "exact": can_resume_exactly(trainer),
            "cut": mark_mid_epoch(trainer, checkpoint),
            MODEL_NAMES: len(RENAMINGS),
            "versions": {
                "lit_cnn": __version__,
                "torch": str(torch.__version__),  # a str subclass, which weights_only loading refuses
                "lightning": lightning.__version__,
                "python": platform.python_version(),
            },
        }
