"""What a checkpoint says about itself, read without running any code from it."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lit_cnn.errors import UserError

KEY = "lit_cnn"  # the project's own part of a checkpoint


@dataclass(frozen=True)
class Record:
    """The project's part of a checkpoint. Plain types only.

    Attributes:
        path: the file.
        config: resolved settings of the run: seed_everything, trainer, model, data, checkpoint.
        class_names: class names in the order of the logits.
        preprocessing: image size, channels, mean, std, resize mode …
        fingerprint: hash of the data the run used.
        epoch: epochs completed.
        step: optimizer steps taken.
    """

    path: Path
    config: dict[str, Any]
    class_names: list[str]
    preprocessing: dict[str, Any]
    fingerprint: str
    epoch: int
    step: int


def read_record(path: Path) -> Record:
    """Read a checkpoint's own description.

    Raises:
        UserError: for a file that is no checkpoint, is damaged, holds pickled code, or was not written by lit-cnn.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is not a checkpoint: expected a file written by lit-cnn fit, or it was cut short; "
            "try the run's other one (best.ckpt, last.ckpt)"
        )
    try:
        # mmap: the description is a few kilobytes, the weights stay on disk
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds Python objects that would run code when loaded: refused. Load it where you trust it and "
            "save its state_dict alone"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or KEY not in content:
        keys = f"keys: {', '.join(map(str, list(content)[:5]))}" if isinstance(content, dict) else "not a dictionary"
        raise UserError(
            f"{path} was not written by lit-cnn ({keys}). To start from its weights: "
            f"lit-cnn fit --config FILE --model.weights {path}"
        )
    own = content[KEY]
    # the loop counts an epoch as processed before it is saved at the epoch's end
    epoch = content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    return Record(
        path=path,
        config=own["config"],
        class_names=own["class_names"],
        preprocessing=own["preprocessing"],
        fingerprint=own["fingerprint"],
        epoch=epoch,
        step=content["global_step"],
    )


# Where to run is the machine's business, and what to log or when to stop is the training run's: an evaluation takes
# only these trainer settings over from a checkpoint.
EVALUATION_TRAINER_KEYS = ("precision", "deterministic")


def base_config(record: Record, command: str) -> dict[str, Any]:
    """Settings that a checkpoint brings to a command, before configs and flags.

    Resuming takes all of them. Evaluating takes model, data and the trainer settings that change results. Class order
    and preprocessing are the model's whatever the data: they are fixed to what the run resolved.
    """
    config = {k: v for k, v in record.config.items() if v is not None}
    fixed = {k: record.preprocessing[k] for k in ("image_size", "channels", "mean", "std")}
    init_args = {**config["data"].get("init_args", {}), **fixed, "class_names": record.class_names}
    data = {**config["data"], "init_args": init_args}
    if command == "fit":
        return {**config, "data": data}
    trainer = {k: v for k, v in config["trainer"].items() if k in EVALUATION_TRAINER_KEYS}
    return {"seed_everything": config["seed_everything"], "trainer": trainer, "model": config["model"], "data": data}
