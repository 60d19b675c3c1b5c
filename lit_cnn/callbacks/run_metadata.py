"""A run's own description: config.yaml in its folder, and the part of a checkpoint that makes it enough on its own."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lit_cnn import __version__
from lit_cnn.callbacks.csv_logger import MetricsCSV
from lit_cnn.checkpoint.compatibility import changes, fit_progress, order_of
from lit_cnn.checkpoint.progress import is_exact, reopen_cut_epoch
from lit_cnn.checkpoint.record import KEY, Record
from lit_cnn.errors import UserError
from lit_cnn.utils.datamodule import datamodule


class RunRecord(Callback):
    """Write ``config.yaml`` when training starts, and add ``checkpoint["lit_cnn"]`` at every save.

    Args:
        config: resolved settings, nested plain types.
        run_dir: the run folder.
        record: the checkpoint that the run goes on from, if any.
        anyway: go on although what decides the order of the samples has changed.
    """

    def __init__(
        self, config: dict[str, Any], run_dir: Path, record: Record | None = None, anyway: bool = False
    ) -> None:
        self.config = config
        self.run_dir = run_dir
        self.record, self.anyway = record, anyway
        self._order: dict[str, Any] = {}
        self._changed: list[str] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare what decides the order of the samples with the checkpoint's.

        Raises:
            UserError: with all differences in one line, unless the user said ``--resume_anyway``.
        """
        if stage != "fit":
            return
        self._order = order_of(trainer)
        if self.record is None:
            return
        self._changed = changes(self.record.order, self._order)
        if not self._changed:
            return
        listed = ", ".join(self._changed)
        if not self.anyway:
            raise UserError(
                f"{self.record.path} cannot be resumed exactly, because these differ (checkpoint -> now): {listed}; "
                "set them back, or go on with --resume_anyway"
            )
        if trainer.is_global_zero:
            print(f"resume_anyway: from here on this run differs from one that was never stopped: {listed}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write config.yaml; on resume an earlier, different one is kept beside it."""
        if not trainer.is_global_zero:
            return
        path = self.run_dir / "config.yaml"
        header = f"# lit-cnn {__version__}\n"
        if self._changed and self.record is not None:
            header += f"# resumed inexactly at step {self.record.step}: {', '.join(self._changed)}\n"
        text = header + yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
        if path.exists() and path.read_text(encoding="utf-8") != text:
            earlier = len(list(self.run_dir.glob("config.before_resume_*.yaml"))) + 1
            path.rename(self.run_dir / f"config.before_resume_{earlier}.yaml")
        path.write_text(text, encoding="utf-8")
        indices = {str(index): name for index, name in enumerate(datamodule(trainer).class_names)}
        text = json.dumps(indices, indent=2, ensure_ascii=False) + "\n"
        (self.run_dir / "class_indices.json").write_text(text, encoding="utf-8")

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the history of the best checkpoints survive a run folder that was moved or renamed."""
        if self._changed and self.record is not None:
            fit_progress(checkpoint, self.record.order, self._order, by_epochs=trainer.max_steps == -1)
        if trainer.checkpoint_callback is None:
            return
        here = Path(trainer.checkpoint_callback.dirpath)  # type: ignore[attr-defined]  # a ModelCheckpoint's
        for state in checkpoint["callbacks"].values():
            if not isinstance(state, dict) or state.get("dirpath") in (None, str(here)):
                continue
            if not (here / Path(state["best_model_path"]).name).is_file():
                # a checkpoint that was copied out of its run: there is no best here to beat
                state["best_model_path"] = ""
            else:
                state["dirpath"] = str(here)
                for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
                    state[key] = str(here / Path(state[key]).name) if state.get(key) else state.get(key)
                state["best_k_models"] = {str(here / Path(p).name): v for p, v in state["best_k_models"].items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Loggers of a resumed run forget what they wrote past the checkpoint."""
        if not trainer.is_global_zero:
            return
        within = 0 < trainer.fit_loop.epoch_loop.batch_progress.current.ready < trainer.num_training_batches
        step, row = trainer.global_step, {}
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                row = logger.resume_at(step, within_epoch=within)
        if self.record is not None and self.record.cut and row:
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
            "class_names": list(data.class_names),
            "preprocessing": data.preprocessing(),
            "fingerprint": data.fingerprint(),
            "split": data.split_state(),
            "order": self._order,
            "exact": is_exact(trainer),
            "cut": reopen_cut_epoch(trainer, checkpoint),
            "versions": {
                "lit_cnn": __version__,
                "torch": str(torch.__version__),  # a str subclass, which weights_only loading refuses
                "lightning": lightning.__version__,
                "python": platform.python_version(),
            },
        }
