"""Checkpoint record: the project's own part of a checkpoint, read without running any code from the file."""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lit_cnn.checkpoint.diff import content_hash
from lit_cnn.checkpoint.renamed_models import use_current_model_names
from lit_cnn.errors import DamagedCheckpointError, UserError

KEY = "lit_cnn"  # the project's own part of a checkpoint
OUT_OF_PATIENCE = 3  # value of Lightning's EarlyStoppingReason.PATIENCE_EXHAUSTED
OOD = "ood"  # in that part: features of validation images, see results.ood
CALIBRATION = "calibration"  # in that part: temperature, threshold and number of images, see results.calibration
HASH = "content_hash"  # in that part: SHA-256 of everything else in the file


class EarlyStop(NamedTuple):
    """How EarlyStopping ended a run.

    Attributes:
        out_of_patience: the metric did not improve; else it passed a threshold or was not finite.
        waited: checks since it improved.
    """

    out_of_patience: bool
    waited: int


@dataclass(frozen=True)
class CheckpointRecord:
    """The project's own part of a checkpoint. Plain types only.

    Attributes:
        path: the file.
        config: resolved settings of the run: seed_everything, trainer, model, data, checkpoint.
        class_names: class names in the order of the logits.
        preprocessing: image size, channels, mean, std, resize mode …
        fingerprint: hash of the data the run used.
        resume_key: what decides the order of the samples: seed, batch size, number of ranks, split …
        exact: saved where a resume ends with the bits of a run that was not stopped.
        truncated: saved at the end of an epoch that a limit ended early.
        requires: packages of the user's that its model, loss, data set or transform come from.
        epoch: epochs completed.
        step: optimizer steps taken.
        data_dir: absolute path of the data folder; empty for an address, and in checkpoints of earlier versions.
        early_stops: by the state key of the EarlyStopping.
        calibration: how its probabilities are corrected, as ``results.calibration.Calibration``; empty in checkpoints
            of earlier versions.
        ood: features of its validation images, as ``callbacks.ood`` keeps them; empty in checkpoints of earlier
            versions.
        averaged: its weights are the average of several checkpoints', without an optimizer state to resume.
        task: kind of its task; classification in checkpoints of earlier versions.
    """

    path: Path
    config: dict[str, Any]
    class_names: list[str]
    preprocessing: dict[str, Any]
    fingerprint: str
    resume_key: dict[str, Any]
    exact: bool
    truncated: bool
    requires: list[str]
    epoch: int
    step: int
    data_dir: str = ""
    early_stops: dict[str, EarlyStop] = field(default_factory=dict)
    averaged: bool = False
    calibration: dict[str, Any] = field(default_factory=dict)
    ood: dict[str, Any] = field(default_factory=dict)
    task: str = "classification"


def absolute_data_dir(config: dict[str, Any]) -> str:
    """The absolute path of ``data.data_dir``, or nothing for an address."""
    given = config.get("data", {}).get("init_args", {}).get("data_dir")
    return "" if not given or "://" in given else os.path.abspath(given)  # noqa: PTH100 (without "..")


def load_verified(path: Path) -> dict[str, Any]:
    """Load a checkpoint as plain data after verifying its checksums. Tensors stay on the disk (mmap).

    Networks have the names that they have today.

    Raises:
        DamagedCheckpointError: for a file that is truncated or was changed.
        UserError: for a file that holds pickled code, or no dictionary.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # every record carries a checksum, which torch does not verify
            damaged = archive.testzip()
    # all that zipfile was seen to raise on damaged archives
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise DamagedCheckpointError(
            f"{path} is not a checkpoint, or it is truncated or damaged ({' '.join(str(error).split())})"
        ) from error
    if damaged is not None:
        raise DamagedCheckpointError(f"{path} is damaged: {damaged} in it does not match its checksum")
    content = _load_plain(path)
    own = content.get(KEY)
    if isinstance(own, dict) and HASH in own:
        stored = own.pop(HASH)
        if content_hash(content) != stored:
            raise DamagedCheckpointError(f"{path} is damaged: its content does not match the hash stored in it")
    if isinstance(own, dict):
        use_current_model_names(content, own)
    return content


def _load_plain(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds Python objects that would run code when loaded: refused. If you trust it, load it "
            "yourself and save its state_dict alone"
        ) from error
    except Exception as error:  # a damaged index makes torch raise almost anything
        raise DamagedCheckpointError(
            f"{path} cannot be read as a checkpoint: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} was not written by lit-cnn: it holds no dictionary")
    return content


def read_progress(path: Path) -> tuple[int, bool]:
    """Optimizer steps that a checkpoint has done, and whether it resumes exactly. Reads a few kilobytes.

    Raises:
        UserError: when it cannot be read.
    """
    content = _load_plain(path)
    step, own = content.get("global_step"), content.get(KEY)
    if not isinstance(step, int):
        raise UserError(f"{path} is not a checkpoint of a run")
    return step, not isinstance(own, dict) or own.get("exact", True)


def read_preprocessing(path: Path) -> dict[str, Any] | None:
    """How the run that wrote a checkpoint prepared its images; None for any other file. Reads a few kilobytes."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        own = _load_plain(path).get(KEY)
    except UserError:  # whoever loads its weights says what is wrong
        return None
    found = own.get("preprocessing") if isinstance(own, dict) else None
    return found if isinstance(found, dict) else None


def read_record(path: Path) -> CheckpointRecord:
    """Read a checkpoint's own description.

    Raises:
        DamagedCheckpointError: for a file that is truncated or was changed.
        UserError: for one that is not a checkpoint, holds pickled code, or was not written by lit-cnn.
    """
    content = load_verified(path)
    if KEY not in content:
        raise UserError(
            f"{path} was not written by lit-cnn (keys: {', '.join(map(str, list(content)[:5]))}). To start from its "
            f"weights, set `model.weights={path}`"
        )
    own = content[KEY]
    # the loop counts an epoch as processed before it is saved at the epoch's end
    epoch = content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    return CheckpointRecord(
        path=path,
        config=own["config"],
        class_names=own["class_names"],
        preprocessing=own["preprocessing"],
        fingerprint=own["fingerprint"],
        resume_key=own.get("order", {}),
        exact=own.get("exact", True),
        truncated=own.get("cut", False),
        requires=own.get("requires", []),
        epoch=epoch,
        step=content["global_step"],
        data_dir=own.get("data_dir", ""),
        early_stops=_early_stops(content.get("callbacks", {})),
        averaged="averaged" in own,
        calibration={} if "averaged" in own else own.get(CALIBRATION, {}),
        ood={} if "averaged" in own else own.get(OOD, {}),
        task=own.get("task", "classification"),
    )


def _early_stops(states: dict[str, Any]) -> dict[str, EarlyStop]:
    """What the callbacks' states say about stops."""
    stopped = {key: state for key, state in states.items() if isinstance(state, dict) and state.get("stopping_reason")}
    return {k: EarlyStop(s["stopping_reason"] == OUT_OF_PATIENCE, s["wait_count"]) for k, s in stopped.items()}


# Trainer settings that an evaluation takes from a checkpoint; devices depend on the machine, and logging and stopping
# concern training only.
EVALUATION_TRAINER_KEYS = ("precision", "deterministic")


def base_config(record: CheckpointRecord, command: str) -> dict[str, Any]:
    """Settings that a checkpoint brings to a command, before configs and flags.

    Resuming takes all of them. Evaluating takes model, data and the trainer settings that change results. Class order
    and preprocessing are the model's whatever the data: they are fixed to what the run resolved.
    """
    config = {k: v for k, v in record.config.items() if v is not None}
    fixed = {k: record.preprocessing[k] for k in ("image_size", "channels", "mean", "std")}
    init_args = {**config["data"].get("init_args", {}), **fixed, "class_names": record.class_names}
    data = {**config["data"], "init_args": init_args}
    if command == "fit":
        # where to write follows from the checkpoint's folder and from flags, not from its settings
        checkpoint = {**config["checkpoint"], "dirpath": None}
        trainer = {k: v for k, v in config["trainer"].items() if k != "default_root_dir"}
        later = {"cache_features": False} if record.task == "classification" else {}
        model = {**later, **config["model"]}  # as before there was such a setting
        return {**config, "model": model, "data": data, "trainer": trainer, "checkpoint": checkpoint}
    trainer = {k: v for k, v in config["trainer"].items() if k in EVALUATION_TRAINER_KEYS}
    return {"seed_everything": config["seed_everything"], "trainer": trainer, "model": config["model"], "data": data}
