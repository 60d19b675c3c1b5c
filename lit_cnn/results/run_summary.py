"""Summaries of training runs, read from their folders without torch: what ``lit-cnn runs`` lists."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from lit_cnn.results.metrics_csv import Row, read_metrics
from lit_cnn.results.run_state import FAILED, FINISHED, STOPPED, TRAINING, describe, read_state

KILLED, UNKNOWN = "killed", "unknown"


class RunSummary(NamedTuple):
    """What a run is, how far it has come and how well.

    Attributes:
        name: of its folder.
        folder: its path.
        backbone: name of the model.
        data: name of the data set, or of the folder of images.
        epochs: complete epochs.
        epochs_asked: ``None`` without a limit.
        steps: optimizer steps.
        steps_asked: ``None`` without a limit.
        metric: that chooses the best epoch.
        best: its best value, ``None`` before the first.
        state: training, finished, stopped, failed, killed or unknown.
        reason: why it failed.
        checkpoints: names of its checkpoints.
        started: seconds since 1970, ``None`` where unknown.
    """

    name: str
    folder: str
    backbone: str
    data: str
    epochs: int
    epochs_asked: int | None
    steps: int
    steps_asked: int | None
    metric: str
    best: float | None
    state: str
    reason: str
    checkpoints: list[str]
    started: float | None


def summarize(run: Path, locked: bool | None) -> RunSummary:
    """The summary of a run folder; whatever is missing or damaged in it is left unknown.

    Args:
        run: the folder.
        locked: whether a process is training in it; ``None``: unknown.
    """
    state = read_state(run)
    about = describe(_config(run)) if "backbone" not in state else state
    rows: list[Row] = []
    with contextlib.suppress(OSError):  # stopped before its first epoch
        rows = read_metrics(run / "metrics.csv")[1]
    epochs = max(
        (int(row["epoch"]) + 1 for row in rows if "train/loss" in row and row.get("epoch", "").isdigit()), default=0
    )
    steps = max((int(row["step"]) + 1 for row in rows), default=0)
    if state.get("state") in (FINISHED, STOPPED, FAILED):  # it has counted more exactly
        epochs, steps = _count(state.get("epoch"), epochs), _count(state.get("step"), steps)
    asked = _count(about.get("epochs"), None), _count(about.get("steps"), None)
    done = any(limit is not None and at >= limit for at, limit in zip((epochs, steps), asked, strict=True))
    metric, mode = str(about.get("monitor") or "val/acc"), about.get("mode")
    return RunSummary(
        run.name,
        str(run),
        str(about.get("backbone") or "?"),
        str(about.get("data") or "?"),
        epochs,
        asked[0],
        steps,
        asked[1],
        metric,
        _best(rows, metric, min if mode == "min" else max),
        _state(state.get("state"), locked, done),
        str(state.get("reason") or ""),
        sorted(path.stem for path in (run / "checkpoints").glob("*.ckpt")),
        started(run, state),
    )


def started(run: Path, state: dict[str, Any]) -> float | None:
    """When a run started: as run.json says, else by the name of TensorBoard's first file, else by config.yaml."""
    known = state.get("started")
    if isinstance(known, (int, float)):
        return float(known)
    events = [re.match(r"events\.out\.tfevents\.(\d+)\.", path.name) for path in run.glob("events.out.tfevents.*")]
    times = [int(found[1]) for found in events if found]
    if times:
        return float(min(times))
    with contextlib.suppress(OSError):  # of a run that failed early there may be none
        return (run / "config.yaml").stat().st_mtime
    return None


def _state(recorded: Any, locked: bool | None, done: bool) -> str:
    if recorded in (FINISHED, STOPPED, FAILED):
        return str(recorded)
    if locked:
        return TRAINING
    if locked is None:
        return UNKNOWN
    if recorded is not None:
        return KILLED
    return FINISHED if done else STOPPED  # of a version that wrote no run.json


def _config(run: Path) -> dict[str, Any]:
    import yaml  # only for runs of older versions

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load((run / "config.yaml").read_text(encoding="utf-8"), loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _count(number: Any, otherwise: Any) -> Any:
    return number if isinstance(number, int) and number >= 0 else otherwise


def _best(rows: list[Row], metric: str, choose: Any) -> float | None:
    values = []
    for row in rows:
        with contextlib.suppress(KeyError, ValueError):  # not measured at this step
            values.append(float(row[metric]))
    values = [value for value in values if math.isfinite(value)]
    return choose(values) if values else None
