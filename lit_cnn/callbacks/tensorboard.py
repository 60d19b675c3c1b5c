"""TensorBoard: the network's graph, pictures, histograms, and curves of training and validation in one chart."""

from __future__ import annotations

import io
import math
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import nn

from lit_cnn.callbacks.validation_report import VAL_PREDICTIONS, WORST
from lit_cnn.distributed.fsdp import holds_all_weights
from lit_cnn.results.report.page import TRAIN_BATCH
from lit_cnn.tasks.base import as_task
from lit_cnn.utils.console import say

# a histogram needs no more values of a layer, evenly spread: those of a large network would take seconds
VALUES = 10_000


class TensorBoardExtras(Callback):
    """Add to TensorBoard's events what Lightning's logger does not write.

    - ``GRAPHS``: the network in evaluation mode, for images of the first batch.
    - ``CUSTOM SCALARS``: loss and accuracy (or PSNR), each of training and validation in one chart.
    - ``HISTOGRAMS`` and ``DISTRIBUTIONS``: the parameters of each layer (of a large one, 10,000 values evenly spread)
      before the first step, at the end of training, and after an epoch once ``every_seconds`` went by.
    - ``IMAGES``: train_batch.jpg, val_predictions.jpg and worst.jpg.

    With sharded weights (FSDP) there are no graph and no histograms.

    Args:
        run_dir: the run folder, which has the pictures.
        every_seconds: the least time between two histograms during training.
    """

    def __init__(self, run_dir: Path, every_seconds: float = 60.0) -> None:
        super().__init__()
        self.folder = run_dir
        self.every_seconds = every_seconds
        self._written_at = -math.inf
        self._began = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the layout of the charts, and the first histograms."""
        self._began = trainer.global_step
        self._written_at = time.monotonic()
        if writer := _writer(trainer):
            score = getattr(pl_module, "score", "acc")
            title = {"acc": "accuracy"}.get(score, score)
            names = {"loss": ["train/loss", "val/loss"], title: [f"train/{score}", f"val/{score}"]}
            writer.add_custom_scalars({"curves": {title: ["Multiline", tags] for title, tags in names.items()}})
            if self._began == 0:
                _write_histograms(writer, trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Write the graph and the first batch's images before the first step."""
        if trainer.global_step > 0 or batch_idx > 0 or not (writer := _writer(trainer)):
            return
        image = getattr(batch, "image", None)
        # features are no input of the network
        if isinstance(image, torch.Tensor) and image.ndim == 4 and holds_all_weights(trainer.strategy):
            write_graph(writer, as_task(pl_module).backbone, image[:1])
        self._write_picture(writer, TRAIN_BATCH, "train_batch", 0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write histograms in a long run."""
        if time.monotonic() - self._written_at >= self.every_seconds and (writer := _writer(trainer)):
            _write_histograms(writer, trainer, pl_module)
            self._written_at = time.monotonic()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last histograms, and the pictures of the best epoch."""
        if trainer.global_step == self._began or not (writer := _writer(trainer)):
            return
        _write_histograms(writer, trainer, pl_module)
        if not trainer.interrupted:
            for name in (VAL_PREDICTIONS, WORST):
                self._write_picture(writer, name, Path(name).stem, trainer.global_step)
        writer.flush()

    def _write_picture(self, writer: Any, name: str, tag: str, step: int) -> None:
        try:
            content = (self.folder / name).read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                width, height = image.size
        except FileNotFoundError:  # this run has none
            return
        except OSError as error:
            say(f"{name} is not in TensorBoard's events: {error}", error=True)
            return
        # the file as it is: add_image would make a PNG of it, three times as large
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
        writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=f"images/{tag}", image=picture)]), step)


def _writer(trainer: Trainer) -> Any:
    """The writer of the first TensorBoard logger, on rank zero."""
    if not trainer.is_global_zero:
        return None
    return next((logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)


def _write_histograms(writer: Any, trainer: Trainer, pl_module: LightningModule) -> None:
    if holds_all_weights(trainer.strategy):  # else rank zero alone would wait for the shards of the others
        write_histograms(writer, as_task(pl_module).backbone, trainer.global_step)


def write_histograms(writer: Any, backbone: nn.Module, step: int) -> None:
    """Write a histogram of each parameter, of at most ``VALUES`` of its values, evenly spread."""
    for name, parameter in backbone.named_parameters():
        values = parameter.detach().flatten()
        values = values[:: max(1, -(-len(values) // VALUES))].float().cpu()
        if len(values) and values.isfinite().all():
            writer.add_histogram(f"weights/{name}", values, step)


def write_graph(writer: Any, backbone: nn.Module, image: torch.Tensor) -> None:
    """Write the graph of a network in evaluation mode.

    Networks that ``torch.jit.trace`` cannot follow, among them compiled ones, have none.

    Args:
        writer: a ``torch.utils.tensorboard.SummaryWriter``.
        backbone: the network; left as it was.
        image: normalized image, float (1, C, H, W).
    """
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that the trace holds fixed: it is drawn, not run
            # traced here, as add_graph would trace it three times to compare the outputs
            writer.add_graph(torch.jit.trace(backbone, image, check_trace=False), image)
    except Exception:  # a network of the user's own may do anything; the run needs no drawing of it
        return
    finally:
        for module, mode in modes.items():
            module.training = mode
