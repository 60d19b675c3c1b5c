"""Shards written from an image folder, and what reading or training on them gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_cnn.data import ImageDataModule, ImageFolder, Stream
from lit_cnn.data.shards.format import write_shards
from lit_cnn.errors import UserError
from tests.data.helpers import Recorder, make_trainer

SETTINGS: dict[str, Any] = {"batch_size": 4, "image_size": 12, "workers": 0, "normalize": "computed"}
EPOCHS = 3


def write_photos(photos: Path, out: Path, shard_bytes: int = 8_000) -> Path:
    """Write shards of an image folder."""
    data = ImageFolder(data_dir=str(photos), **SETTINGS)
    parts = data.splits()
    write_shards(out, parts["train"].source, parts, data.class_names, shard_bytes)  # type: ignore[arg-type]
    return out


def fit(data: ImageDataModule, checkpoint: Path | None = None, folder: Path | None = None) -> Recorder:
    """Train; with ``folder``, keep a checkpoint of every step there."""
    model = Recorder(3 * 12 * 12, data.num_classes)
    callbacks = [] if folder is None else [ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)]
    trainer = make_trainer(max_epochs=EPOCHS, callbacks=callbacks, enable_checkpointing=bool(callbacks))
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return model


def read_training(where: Path | str, **settings: Any) -> None:
    """Read an epoch of training images."""
    data = Stream(data_dir=str(where), **{**SETTINGS, **settings})
    data.setup("fit")
    list(data.train_dataloader())


def error_of(where: Path | str, **settings: Any) -> str:
    """The one line with which ``read_training`` fails."""
    with pytest.raises(UserError) as caught:
        read_training(where, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def interrupt(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt
