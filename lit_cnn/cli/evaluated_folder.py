"""``test --data-dir DIR`` and ``validate --data-dir DIR``: a folder of other images is evaluated whole."""

from __future__ import annotations

from pathlib import Path

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli.argv import Arguments
from lit_cnn.data import DehazePairs, ImageDataModule, ImageFolder

SPLITS = {"test": "test", "validate": "val"}


def evaluate_whole_folder(arguments: Arguments, record: CheckpointRecord, data: ImageDataModule) -> None:
    """Let all images of a folder without split folders be evaluated, if the user names it for this command.

    Not where it holds the images that the model was trained on, of which only those held out may be evaluated, and not
    where a flag says how to split it.

    Args:
        arguments: the command line.
        record: the checkpoint.
        data: the data set, before its setup.
    """
    names = arguments.names()
    split = SPLITS.get(arguments.command)
    if split is None or not isinstance(data, (ImageFolder, DehazePairs)) or "data.data_dir" not in names:
        return
    if names & {"data.split", "data.split_seed", "data.test_fraction", "data.val_fraction"}:
        return
    same = bool(record.data_dir) and Path(record.data_dir).resolve() == Path(data.data_dir).resolve()
    if not same and data.fingerprint() != record.fingerprint:
        data.evaluate_whole(split)
