"""Overview before training: the images of each class and split, the network, what it starts from, and the device."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table
from torch import Tensor

from lit_cnn.checkpoint.compatibility import device_name
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.folders import ImageFolder
from lit_cnn.data.summary import class_counts
from lit_cnn.utils.console import say, show
from lit_cnn.utils.cpu import num_cores
from lit_cnn.utils.datamodule import datamodule

MOST_CLASSES = 12  # that have a row each
FEW_VALIDATION = 100  # images, below which one image is more than a percent
FEW_TRAINING = 5000  # photos, up to which trained weights make a large difference
PHOTO = 64  # pixels of the shorter side, from which images are photos


class Overview(Callback):
    """When a fit starts, print one small table of what is trained on what."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print it; on rank zero."""
        data = datamodule(trainer)
        if not trainer.is_global_zero or not isinstance(data, ImageDataModule):
            return
        if isinstance(data, ImageFolder):
            show(_images(data))
        network, parameters = _network(pl_module)
        say(f"network: {network}")
        say(f"device: {device_line(trainer)}, precision {trainer.precision}")
        for note in notes(data, pl_module.hparams, parameters):
            say(f"note: {note}")


def _images(data: ImageFolder) -> Table:
    """Images by class and split."""
    counts, names = class_counts(data), data.class_names
    table = Table(box=None, pad_edge=False)
    table.add_column("images", overflow="fold")
    for split in counts:
        table.add_column(split, justify="right")
    order = range(len(names))
    shown = list(order) if len(names) <= MOST_CLASSES else []
    if not shown:  # the largest and the smallest classes
        by_size = sorted(order, key=lambda k: -sum(split[k] for split in counts.values()))
        shown = [*by_size[:3], *by_size[-3:]]
    for position, k in enumerate(shown):
        if len(names) > MOST_CLASSES and position == 3:
            table.add_row(f"… {len(names) - 6:,} more classes", *("…" for _ in counts))
        table.add_row(names[k].replace("[", "\\["), *(f"{split[k]:,}" for split in counts.values()))
    total = {name: sum(split) for name, split in counts.items()}
    if data.multilabel:  # images, not labels
        total = {name: len(data.splits()[name].indices) for name in counts}
    table.add_row(f"{len(names):,} classes", *(f"{images:,}" for images in total.values()))
    return table


def _network(module: LightningModule) -> tuple[str, int]:
    """A line about the network, and the number of its trainable parameters."""
    tensors = list(module.parameters())
    count, trained = (sum(p.numel() for p in tensors if p.requires_grad in kinds) for kinds in ((True, False), (True,)))
    text = f"{module.hparams.get('backbone')}, {count:,} parameters"
    if trained < count:
        text += f", of which {trained:,} are trained"
    start = module.hparams.get("weights")
    return f"{text}, starts from {start if start else 'random weights'}", trained


def device_line(trainer: Trainer) -> str:
    """What a run is computed on, such as ``2 x NVIDIA H100 80GB HBM3``."""
    device, count = trainer.strategy.root_device, trainer.world_size
    name = f"CPU, {num_cores(count)} cores" if device.type == "cpu" else device_name(device)
    return name if count == 1 else f"{count} x {name}"


def notes(data: ImageDataModule, settings: Any, parameters: int) -> list[str]:
    """What the user should know about so many images.

    Args:
        data: set up for training.
        settings: of the model.
        parameters: number of trainable ones.
    """
    sizes = {name: len(value) for name, value in data.split_state().items() if isinstance(value, Tensor)}
    found = []
    count = sizes.get("val", 0)
    if 0 < count < FEW_VALIDATION and data.task == "classification":
        found.append(
            f"{count} validation images: one more that is right is {100 / count:.1f} points of val/acc, so the best "
            "epoch is chosen by chance to a large part; equal ones are told apart by val/loss"
        )
    if data.sampling == "balanced" and settings.get("class_weights") == "balanced":
        found.append(
            "`data.sampling=balanced` and `model.class_weights=balanced` both make rare classes count more, together "
            "twice as much as needed: one of them is enough"
        )
    size = data.image_size
    side = size if isinstance(size, int) else min(size)
    photos = isinstance(data, ImageFolder) and side >= PHOTO
    if photos and not settings.get("weights") and sizes.get("train", 0) < FEW_TRAINING:
        found.append(
            "from random weights, so few photos teach little: trained ones help most, `model.weights=imagenet` (a "
            "download) or a file"
        )
    return found
