"""What an exported file says about its run, as a checkpoint record: it can be evaluated without the checkpoint."""

from __future__ import annotations

from pathlib import Path

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.errors import UserError
from lit_cnn.export.formats import open_exported
from lit_cnn.export.metadata import RUN_FIELDS


def read_exported(path: Path) -> CheckpointRecord:
    """The record of an exported file. Its temperature is 1, as that of the checkpoint is inside of the graph.

    Raises:
        UserError: the file cannot be read, or lit-cnn has not written it.
    """
    metadata = open_exported(path).metadata
    run = metadata.get("run")
    if not isinstance(run, dict) or "names" not in metadata:
        raise UserError(f"{path} was not written by lit-cnn export: it does not say how its images are prepared")
    restores = metadata["task"] == "restore"
    calibration = {"temperature": 1.0, "threshold": metadata.get("threshold"), "images": metadata["proof"]["images"]}
    return CheckpointRecord(
        path=path,
        config={**run["config"], "trainer": {}},  # computed in float32 whatever the run's precision was
        class_names=list(metadata["names"].values()),
        resume_key={},
        exact=True,
        truncated=False,
        calibration={} if restores else calibration,
        task="restoration" if restores else "classification",
        **{name: run[name] for name in RUN_FIELDS},
    )
