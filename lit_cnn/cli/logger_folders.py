"""Where loggers of the settings write: into the run folder, unless they are given a ``save_dir``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import loggers as lightning_loggers
from lightning.pytorch.loggers import Logger

from lit_cnn.cli import transport
from lit_cnn.cli.trainer_classes import SAVE_DIR, Given, load_text, named

_HERE = "."  # stands for the run folder in the settings
_DEFAULTS = ("None", _HERE, "./mlruns")  # of Lightning's loggers


def with_save_dir(value: Any) -> Any:
    """The value of ``trainer.logger`` in which every logger that needs a ``save_dir`` has one; see :func:`place`."""
    if isinstance(value, list):
        return [with_save_dir(item) for item in value]
    found = named(value)
    if len(found) != 1 or not _needs_save_dir(found[0]):
        return value
    rest = dict(value) if isinstance(value, Mapping) else {}
    return {**rest, "class_path": found[0].name, "init_args": {**found[0].init_args, SAVE_DIR: _HERE}}


def _needs_save_dir(item: Given) -> bool:
    cls = getattr(lightning_loggers, item.short, None) if item.is_lightnings else None
    if cls is None or SAVE_DIR in item.init_args:
        return False
    parameter = inspect.signature(cls.__init__).parameters.get(SAVE_DIR)
    return parameter is not None and parameter.default is parameter.empty


def fill(content: dict[str, Any]) -> dict[str, Any]:
    """The settings of a config in which every logger that needs a ``save_dir`` has one."""
    trainer = content.get("trainer")
    if not isinstance(trainer, Mapping) or "logger" not in trainer:
        return content
    return {**content, "trainer": {**trainer, "logger": with_save_dir(trainer["logger"])}}


def flag_words(flag: str, text: str) -> Iterator[str]:
    """The words for a flag, with a ``save_dir`` for loggers that need one."""
    if flag.rstrip("+") != "--trainer.logger":
        yield from (flag, text)
        return
    value = load_text(text)
    if isinstance(value, str):
        yield from (flag, text)
        if any(map(_needs_save_dir, named(value))):
            yield from (f"--trainer.logger.{SAVE_DIR}", _HERE)
    else:
        filled = with_save_dir(value)
        yield from (flag, text if filled == value else transport.hand_over(json.dumps(filled), filled))


def build_loggers(settings: Any, folder: Path, purge: Mapping[str, Any]) -> list[Logger]:
    """Build the loggers of the settings. Those whose ``save_dir`` is not given write into the run folder.

    Args:
        settings: parsed ``trainer.logger``.
        folder: the run folder.
        purge: further arguments of TensorBoardLogger, for a resumed run.
    """
    parser = ArgumentParser()
    parser.add_argument("--logger", type=list[Logger])
    placed = [_place(item.clone(), folder, purge) for item in (settings if isinstance(settings, list) else [settings])]
    built: list[Logger] = parser.instantiate_classes(Namespace(logger=placed)).logger
    return built


def _place(logger: Namespace, folder: Path, purge: Mapping[str, Any]) -> Namespace:
    init_args, name = logger.get("init_args", Namespace()), logger.class_path.rpartition(".")[2]
    if SAVE_DIR not in init_args or str(init_args[SAVE_DIR]) not in _DEFAULTS:
        return logger
    init_args[SAVE_DIR] = str(folder / "mlruns" if name == "MLFlowLogger" else folder)
    if name == "CSVLogger" and init_args.name == "lightning_logs":
        init_args.name = "csv"
    if name == "TensorBoardLogger" and init_args.name == "lightning_logs" and init_args.version is None:
        init_args.name = init_args.version = ""
        logger.dict_kwargs = {**logger.get("dict_kwargs", {}), **purge}
    return logger
