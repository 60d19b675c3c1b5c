"""Uniform average of the weights of several checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_cnn.checkpoint.io import AtomicCheckpointIO
from lit_cnn.checkpoint.record import KEY, CheckpointRecord, load_verified, read_record
from lit_cnn.errors import UserError

AVERAGED = "averaged"  # in the project's own part: the optimizer steps of the checkpoints that were averaged
# What belongs to training, and would be wrong beside averaged weights.
TRAINING = ("optimizer_states", "lr_schedulers", "callbacks", "current_model_state", "averaging_state", "train_means")


def average_checkpoints(paths: list[Path], output: Path) -> list[int]:
    """Write one checkpoint whose weights are the uniform average of others' (Izmailov et al. 2018, arXiv 1803.05407).

    Floating-point tensors, batch-norm statistics included, are averaged in float64 and stored in their own type. All
    else is that of the checkpoint with the most optimizer steps. The optimizer's state is left out: the file can be
    tested and be the start of other training, not be resumed.

    Args:
        paths: two or more checkpoints of one network for the same classes and preprocessing.
        output: the file to write.

    Returns:
        Optimizer steps of the checkpoints, ascending.

    Raises:
        UserError: fewer than two files, one given twice, networks that differ, or an unsuitable ``output``.
        DamagedCheckpointError: one is damaged.
    """
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < max(2, len(paths)):
        raise UserError("an average needs two or more different checkpoints, each given once")
    if output.resolve() in resolved:
        raise UserError(f"{output} is one of the checkpoints to average: write to another file")
    if (output.parent / "last.ckpt").exists():
        raise UserError(f"{output.parent} is where a resume looks for checkpoints: write to another folder")
    for path in paths:
        if not path.is_file():
            raise UserError(f"there is no file {path}: give the paths of checkpoints")
    records = sorted((read_record(path) for path in paths), key=lambda record: record.step)
    last = records[-1]
    for record in records:
        if record.class_names != last.class_names:
            raise UserError(f"{record.path} and {last.path} have other classes, or another order of them")
        if record.preprocessing != last.preprocessing:
            raise UserError(f"{record.path} and {last.path} have other preprocessing (image size, mean, std …)")
        if _network(record) != _network(last):
            raise UserError(f"{record.path} and {last.path} hold different networks")
    content = load_verified(last.path)
    content["state_dict"] = _average([load_verified(record.path)["state_dict"] for record in records], records)
    for key in TRAINING:
        content.pop(key, None)
    content[KEY][AVERAGED] = [record.step for record in records]
    AtomicCheckpointIO().save_checkpoint(content, output)
    return [record.step for record in records]


def _network(record: CheckpointRecord) -> list[Any]:
    """The settings that decide what the weights mean."""
    model = record.config.get("model", {})
    return [model.get("backbone"), model.get("backbone_args") or {}]


def _average(states: list[dict[str, Tensor]], records: list[CheckpointRecord]) -> dict[str, Tensor]:
    """Mean of every floating-point tensor; other tensors are the last state's."""
    last = states[-1]
    for state, record in zip(states, records, strict=True):
        if state.keys() != last.keys() or any(state[name].shape != last[name].shape for name in last):
            raise UserError(f"{record.path} and {records[-1].path} hold different networks")
    for i, state in enumerate(states):  # such as last.ckpt and the file of the last epoch, which would count twice
        for other, record in zip(states[:i], records, strict=False):
            if all(torch.equal(state[name], other[name]) for name in state):
                raise UserError(f"{record.path} and {records[i].path} have the same weights: give one of them")
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in last.items()
    }
