"""Load a model and serve it: the work of ``lit-cnn serve``."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer

from lit_cnn import run_folder
from lit_cnn.checkpoint.find import find_checkpoint
from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli.checkpoint_argument import check_plugins, predict_data
from lit_cnn.cli.checkpoint_data import data_of
from lit_cnn.cli.exported_model import read_model
from lit_cnn.cli.trained_task import check_classifier, trained_task
from lit_cnn.errors import UserError
from lit_cnn.export.formats import format_of, open_exported
from lit_cnn.serve.limits import Limits
from lit_cnn.serve.models import ServedCheckpoint, ServedFile, ServedModel, TrainingPictures, Uploads
from lit_cnn.utils.console import say


class Options(NamedTuple):
    """Where to serve what.

    Attributes:
        host: to listen on.
        port: to listen on; 0: any that is free.
        max_pixels: of an image, where the run's own limit is not lower.
        device: auto, cpu or gpu.
        allow_import: packages that the user allows.
        nearest: read training pictures, and show the nearest ones.
        data_dir: where they are now; None: where the run read them.
    """

    host: str
    port: int
    max_pixels: int
    device: str
    allow_import: list[str]
    nearest: bool = False
    data_dir: str | None = None


def require() -> None:
    """Check that the packages are there.

    Raises:
        UserError: one is missing.
    """
    for name in ("fastapi", "uvicorn"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise UserError(f"serve needs the {name} package: pip install 'lit-cnn[serve]'") from None


def open_model(record: CheckpointRecord, device: str, max_pixels: int) -> ServedModel:
    """The model of a checkpoint or an exported file.

    Args:
        record: of either.
        device: auto, cpu or gpu.
        max_pixels: of an image.

    Raises:
        UserError: it has no classes, is damaged, or the device is missing.
    """
    check_classifier(record, "serve")
    settings = predict_data(record, [])["init_args"]
    settings["max_pixels"] = min(max_pixels, settings.get("max_pixels", max_pixels))
    uploads = Uploads(**{**settings, "on_bad_image": "error"})
    if format_of(record.path) is not None:
        return ServedFile(record, open_exported(record.path), uploads)
    if device == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise UserError("this machine has no GPU that torch can use: leave `device` out")
    trainer = Trainer(
        accelerator=device,
        devices=1,
        precision=record.config["trainer"].get("precision"),
        deterministic=record.config["trainer"].get("deterministic"),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return ServedCheckpoint(record, trained_task(record, "serve"), uploads, trainer)


def _read_pictures(model: ServedModel, record: CheckpointRecord, options: Options) -> None:
    """Read training pictures, for the nearest ones.

    Raises:
        UserError: they cannot be read, or the model does not know which are near.
    """
    if not isinstance(model, ServedCheckpoint):
        raise UserError(model.why_none_near)
    began = time.perf_counter()
    model.pictures = TrainingPictures(data_of(record, options.data_dir, options.allow_import), model.task)
    say(f"read {len(model.pictures):,} training pictures in {time.perf_counter() - began:.1f} s")


def serve_run(ckpt_path: str, limits: Limits, options: Options) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        UserError: the model cannot be loaded, a package is missing, or the address cannot be had.
    """
    require()
    from lit_cnn.serve.app import ModelFacts, build_app
    from lit_cnn.serve.server import address_of, listen, serve

    path = find_checkpoint(ckpt_path, Path(), "best")
    if str(path) != ckpt_path:
        say(f"checkpoint: {path}")
    record = read_model(path)
    check_plugins(record, options.allow_import)
    with listen(options.host, options.port) as bound:
        model = open_model(record, options.device, options.max_pixels)
        if options.nearest:
            _read_pictures(model, record, options)
        run = run_folder.run_folder_of(path)
        facts = ModelFacts(
            name=path.name if run is None else f"{run.name}/{path.name}",
            backbone=str(record.config["model"]["backbone"]),
            class_names=model.class_names,
            multilabel=model.multilabel,
            why_no_heat_map=model.why_no_heat_map,
            why_none_near=model.why_none_near,
            max_bytes=limits.most_bytes,
            max_pixels=model.uploads.max_pixels,
        )
        app, service = build_app(model, limits, facts)
        address = address_of(bound, options.host)
        say(f"{facts.backbone}, {len(facts.class_names)} classes: {address} (API: {address}docs); Ctrl-C stops it")
        if limits.token:
            say("requests need the token, which the page asks for")
        serve(app, bound)
        done = service.batcher
        say(
            f"stopped; images answered: {done.items:,}, in batches: {done.batches:,}; requests refused: {app.refused:,}"
        )
