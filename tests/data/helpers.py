"""A model that records its inputs, a silent trainer, images, and what a data module gives."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lit_cnn.data import Batch, ImageDataModule, ImageFolder


def pixels(seed: int, height: int = 20, width: int = 24, channels: int = 3) -> np.ndarray:
    """Return a smooth random image, uint8 (height, width[, 3])."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, channels), dtype=np.uint8)
    image = Image.fromarray(coarse if channels == 3 else coarse[:, :, 0])
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


class Recorder(pl.LightningModule):
    """A linear model with momentum that remembers every batch."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Linear(features, classes)
        self.seen: list[tuple[int, int, list[int], list[str]]] = []
        self.tested: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image.flatten(1))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        digests = [hashlib.sha256(image.cpu().numpy().tobytes()).hexdigest() for image in batch.image]
        self.seen.append((self.current_epoch, batch_idx, batch.index.tolist(), digests))
        return torch.nn.functional.cross_entropy(self(batch.image), batch.target)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch.image)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.tested += batch.index.tolist()

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        return batch.index, batch.target

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def make_trainer(**kwargs: Any) -> pl.Trainer:
    """Return a silent trainer on the CPU."""
    return pl.Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **kwargs,
        }
    )


def sample_names(data: ImageDataModule, part: str) -> list[str]:
    """Return the names of the images of a split."""
    return [data.sample_name(part, row) for row in data._split(part).indices.tolist()]


def image_folder(root: Path, **kwargs: object) -> ImageFolder:
    """Return a data module of small images in small batches."""
    return ImageFolder(data_dir=str(root), **{"image_size": 16, "workers": 2, "batch_size": 4, **kwargs})


def all_names(data: ImageDataModule) -> list[str]:
    """Return the names of all images that training's split is taken from."""
    source = data._split("train").source
    return [source.name(row) for row in range(len(source))]


def concatenate_batches(loader: object) -> tuple[Tensor, Tensor, Tensor]:
    """Return the image, target and index of all batches."""
    batches = list(loader)  # type: ignore[call-overload]
    return tuple(torch.cat(column) for column in zip(*batches, strict=True))  # type: ignore[return-value]
