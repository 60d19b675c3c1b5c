"""run.json: when a training run started, what it trains, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_cnn.utils.files import atomic_write

NAME = "run.json"
# Values of "state". A run that was killed is still "training", but nobody holds its lock.
STARTING, TRAINING, FINISHED, STOPPED, FAILED = "starting", "training", "finished", "stopped", "failed"


def read_state(run: Path) -> dict[str, Any]:
    """The content of a run folder's run.json, empty where there is none or it is damaged."""
    try:
        content = json.loads((run / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_state(run: Path, **changes: Any) -> None:
    """Change entries of run.json; those that become ``None`` are removed.

    Raises:
        OSError: it cannot be written.
    """
    content = {name: value for name, value in (read_state(run) | changes).items() if value is not None}
    with atomic_write(run / NAME) as file:
        file.write(json.dumps(content, indent=2) + "\n")


def describe(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run trains, by its settings.

    Args:
        config: resolved settings as config.yaml holds them.

    Returns:
        backbone, data (name of the data set, or of the folder of an ImageFolder), epochs and steps asked for (``None``:
        no limit), and the monitored metric with its mode.
    """
    trainer, model, data, checkpoint = (_part(config, name) for name in ("trainer", "model", "data", "checkpoint"))
    kind = str(data.get("class_path") or "?").rpartition(".")[2]
    folder = str(_part(data, "init_args").get("data_dir") or "")
    in_folder = kind in ("ImageFolder", "Stream") and folder
    return {
        "backbone": str(model.get("backbone") or "?"),
        "data": f"{Path(folder).resolve().name or folder}/" if in_folder else kind,
        "epochs": _limit(trainer.get("max_epochs")),
        "steps": _limit(trainer.get("max_steps")),
        "monitor": checkpoint.get("monitor") or "val/acc",
        "mode": checkpoint.get("mode") or "max",
    }


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    return part if isinstance(part, Mapping) else {}


def _limit(number: Any) -> int | None:
    return number if isinstance(number, int) and number >= 0 else None
