"""``test``, ``validate`` and ``predict`` of an exported file, ``--ckpt_path best.onnx``, by the same data modules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lit_cnn.checkpoint.record import CheckpointRecord, read_record
from lit_cnn.cli.argv import Arguments
from lit_cnn.errors import UserError
from lit_cnn.export.answers import ExportedAnswers, check_answers
from lit_cnn.export.formats import format_of, open_exported
from lit_cnn.export.record import read_exported
from lit_cnn.export.restoration import RestoredByFile, check_restored
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.restoration import ImageRestorer
from lit_cnn.utils.console import say

if TYPE_CHECKING:
    from lit_cnn.cli.lightning_cli import LitCLI

SPLITS = {"test": "test", "validate": "val", "predict": "predict"}


def read_model(path: Path) -> CheckpointRecord:
    """The record of a checkpoint or an exported file.

    Raises:
        UserError: it cannot be read.
    """
    return read_record(path) if format_of(path) is None else read_exported(path)


def check_exported_flags(arguments: Arguments, path: Path) -> None:
    """Refuse what has no effect on an exported file.

    Raises:
        UserError: naming the flag.
    """
    if format_of(path) is None:
        return
    if arguments.command == "fit":
        raise UserError(f"{path} is an exported file, which cannot be trained: give its checkpoint")
    if arguments.raw:
        raise UserError("--raw has no effect on an exported file: its temperature is inside")
    for name in sorted(arguments.names()):
        if name.startswith("model.") and name != "model.tile":
            raise UserError(f"--{name} has no effect on an exported file: its network is inside")


def answer_by_file(cli: LitCLI) -> bool:
    """Let an exported file answer in place of the backbone, after it has answered the images of its proof again.

    Returns:
        False for a checkpoint, of which nothing changes.

    Raises:
        UserError: the answers are not those that were proven.
    """
    record, data = cli.run.record, cli.datamodule
    if record is None or format_of(record.path) is None:
        return False
    runner, model = open_exported(record.path), cli.model
    restores = isinstance(model, ImageRestorer)
    if cli.run.command != "predict":
        data.prepare_data()
        if data.fingerprint() == record.fingerprint:
            count = (check_restored if restores else check_answers)(runner, data, str(record.path))
            say(f"proof repeated on {count:,} images: {record.path} answers as it did when it was exported")
    if isinstance(model, ImageRestorer):
        model.exported = RestoredByFile(runner)
    else:
        assert isinstance(model, ImageClassifier)
        model.exported = ExportedAnswers(runner, data, SPLITS[cli.run.command])
    return True
