"""The data module of a checkpoint, for commands that are no run of the trainer."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ActionConfigFile, ArgumentError
from lightning.pytorch.cli import LightningArgumentParser

from lit_cnn.checkpoint.record import CheckpointRecord, base_config
from lit_cnn.cli import import_allowlist, transport
from lit_cnn.cli.checkpoint_argument import find_data_dir
from lit_cnn.cli.config import data_settings
from lit_cnn.cli.parser_errors import humanize_parser_error, reporting_mistakes
from lit_cnn.data import ImageDataModule
from lit_cnn.data.registry import datasets
from lit_cnn.errors import UserError


def data_of(record: CheckpointRecord, data_dir: str | None, allow_import: Sequence[str]) -> ImageDataModule:
    """Build the data set that a run was trained on, with the checkpoint's classes and preprocessing.

    Args:
        record: of the checkpoint.
        data_dir: where the images are now; None: where the run read them.
        allow_import: packages that the user allows.

    Raises:
        UserError: for settings that the data set refuses.
    """
    base = base_config(record, "validate")
    if data_dir is not None:
        base["data"]["init_args"]["data_dir"] = data_dir
    else:
        find_data_dir(record, base)
    parser = LightningArgumentParser(exit_on_error=False, parser_mode=transport.MODE)
    parser.add_argument("--config", action=ActionConfigFile)
    parser.add_lightning_class_args(ImageDataModule, "data", subclass_mode=True, required=True)
    settings = transport.hand_over(f"data of {record.path}", {"data": base["data"]})
    with import_allowlist.only_allowed(import_allowlist.with_plugins(list(allow_import))), reporting_mistakes():
        try:
            parsed = parser.parse_args(["--config", settings])
        except ArgumentError as error:
            known = data_settings(base["data"]["class_path"])
            raise UserError(humanize_parser_error(str(error), known, datasets())) from error
        data: ImageDataModule = parser.instantiate_classes(parsed).data
    data.prepare_data()
    return data
