"""What the page of a run tells of its beginning: images, network, machine, settings; kept in run.json."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn import __version__
from lit_cnn.callbacks.overview import device_line
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.summary import class_counts
from lit_cnn.inspection.measure import count_macs
from lit_cnn.models._input_check import on_meta
from lit_cnn.results.report.facts import FACTS
from lit_cnn.results.run_state import read_state, write_state
from lit_cnn.tasks.base import BaseTask
from lit_cnn.utils.datamodule import find_datamodule

SETTINGS = "settings"


class RunFacts(Callback):
    """Write what is trained on what to run.json when training starts, and how long it took when it ends.

    Args:
        run_dir: the run folder.
        settings: name, default, value and source of the settings that differ from the defaults; None: of a resumed run,
            which keeps those that it began with.
    """

    def __init__(self, run_dir: Path, settings: Sequence[Sequence[Any]] | None) -> None:
        super().__init__()
        self.run_dir, self.settings = run_dir, settings
        self._began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is known at the start."""
        self._began = time.monotonic()
        if not trainer.is_global_zero:
            return
        facts = self._read()
        if self.settings is not None:
            facts[SETTINGS] = [[name, _plain(was), _plain(now), source] for name, was, now, source in self.settings]
            facts["began"] = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")
        data = find_datamodule(trainer)
        if isinstance(data, ImageDataModule):
            facts["images"] = {"classes": data.class_names or ["all"], "counts": class_counts(data, built=True)}
            facts["leaks"] = data.leaks
            facts["network"] = self._network(pl_module, data)
        facts["device"] = f"{device_line(trainer)}, precision {trainer.precision}"
        facts["versions"] = {
            "lit-cnn": __version__,
            "torch": str(torch.__version__),
            "lightning": lightning.__version__,
            "Python": platform.python_version(),
        }
        write_state(self.run_dir, **{FACTS: facts})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the time of training."""
        self._add_time(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Add the time of training until it was stopped."""
        with contextlib.suppress(OSError):  # the exception matters more
            self._add_time(trainer)

    def _add_time(self, trainer: Trainer) -> None:
        if not self._began or not trainer.is_global_zero:
            return
        facts = self._read()
        facts["seconds"] = round(float(facts.get("seconds") or 0) + time.monotonic() - self._began, 1)
        self._began = 0.0
        write_state(self.run_dir, **{FACTS: facts})

    def _read(self) -> dict[str, Any]:
        facts = read_state(self.run_dir).get(FACTS)
        return dict(facts) if isinstance(facts, dict) else {}

    def _network(self, module: LightningModule, data: ImageDataModule) -> dict[str, Any]:
        tensors, settings = list(module.parameters()), module.hparams
        size = data.image_size
        image = [data.in_channels, *((size, size) if isinstance(size, int) else size)]
        return {
            "parameters": sum(p.numel() for p in tensors),
            "trained": sum(p.numel() for p in tensors if p.requires_grad),
            "macs": _macs(module, image),
            "image": image,
            "weights": settings.get("weights"),
        }


def _macs(module: LightningModule, image: Sequence[int]) -> int | None:
    """Multiply-accumulates of an image; None for a network that cannot be run on shapes."""
    if not isinstance(module, BaseTask):
        return None
    try:
        return count_macs(on_meta(lambda: module.network(module.hparams)), *image)
    except Exception:  # whatever a network of the user's raises
        return None


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
