"""Features of a frozen backbone, computed once before training instead of in every epoch (``model.cache_features``)."""

from __future__ import annotations

import time
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.feature_source import FeatureSource, image_batches, random_images, replace_images, restore_images
from lit_cnn.data.loading.loader import Batch, BatchLoader
from lit_cnn.distributed.fsdp import holds_all_weights
from lit_cnn.errors import UserError
from lit_cnn.models._frozen_features import FrozenFeatures, only_trained_layer
from lit_cnn.tasks.base import BaseTask
from lit_cnn.utils import memory
from lit_cnn.utils.console import Display, say
from lit_cnn.utils.datamodule import find_datamodule

# settings of the model with which training needs images, by the reason
NEED_IMAGES = {
    "mixup_alpha": "images are mixed",
    "cutmix_alpha": "images are mixed",
    "teacher": "the teacher sees the images too",
    "freeze_epochs": "all layers train later",
}
TRIED = 2  # images on which the split of the network is tried
SENT = 1 << 22  # numbers per all-reduce


class FeatureCache(Callback):
    """Run a frozen backbone once over training and validation images, and train the head on the features it gives.

    It is the same computation as running all layers in every epoch, as long as an image is the same in every epoch:
    where it is augmented, the cache is refused, or with ``auto`` not used. Each rank computes its share, in the batches
    of evaluation, whatever the number of ranks. Nothing is stored: a resumed run computes the same features again,
    from the weights of its checkpoint. Outside of ``fit`` the network runs as a whole.
    """

    def __init__(self) -> None:
        self._wanted = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Decide, as far as the settings tell.

        Raises:
            UserError: the cache is asked for and would change what is computed.
        """
        self._wanted = False
        setting = pl_module.hparams.get("cache_features", False)
        if stage != "fit" or not isinstance(pl_module, BaseTask) or setting is False:
            return
        if setting not in (True, "auto"):
            raise UserError(f"`model.cache_features` must be auto, true or false, got {setting!r}")
        obstacle = _obstacle(trainer, pl_module)
        if obstacle and setting is True:
            raise _refused(obstacle)
        repeats = trainer.max_epochs != 1 and not getattr(trainer, "fast_dev_run", False)
        self._wanted = not obstacle and (setting is True or repeats)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the features, when all weights are there, and let the loaders give them in the place of images."""
        if not self._wanted:
            return
        task, data = cast(BaseTask, pl_module), cast(ImageDataModule, find_datamodule(trainer))
        began = time.monotonic()
        try:
            frozen = self._split(trainer, task, data)
        except UserError as error:
            if task.hparams["cache_features"] is True:
                raise _refused(str(error)) from error
            return
        counts, size = [], 0
        with trainer.profiler.profile("cache_features"):  # type: ignore[attr-defined]  # untyped in Lightning
            for name, loader in (("train", trainer.train_dataloader), ("val", trainer.val_dataloaders)):
                if name == "val" and not data.has_split("val"):
                    continue
                source = _compute(trainer, task, data, frozen, name)
                if isinstance(loader, BatchLoader):  # made before this hook, with the images
                    loader.source, loader.workers = source, 0
                counts.append(f"{len(source.features):,} {name}")
                size += source.features.nbytes
        task.frozen_features = frozen
        say(
            f"frozen backbone: {frozen.width:,} features of {' and '.join(counts)} images computed once in "
            f"{time.monotonic() - began:.0f} s, {memory.format_bytes(size)} (`model.cache_features`)"
        )

    def _split(self, trainer: Trainer, task: BaseTask, data: ImageDataModule) -> FrozenFeatures:
        loader = image_batches(data, "train", batch_size=TRIED)
        loader.workers = 0  # threads would read ahead
        batch = next(iter(loader))
        with trainer.precision_plugin.forward_context():
            return FrozenFeatures(task.backbone, _images(trainer, task, data, batch), task.hparams.get("num_classes"))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the loaders the images again: tests and predictions run the whole network."""
        if self._wanted:
            cast(BaseTask, pl_module).frozen_features = None
            restore_images(cast(ImageDataModule, find_datamodule(trainer)))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """As :meth:`teardown`, which Lightning skips then."""
        self.teardown(trainer, pl_module, "fit")


def _refused(reason: str) -> UserError:
    return UserError(f"`model.cache_features=true`: {reason}")


def _obstacle(trainer: Trainer, task: BaseTask) -> str:
    """Why features cannot stand for the images of this run, as far as its settings tell; empty if they can."""
    data, strategy = find_datamodule(trainer), trainer.strategy
    if not isinstance(data, ImageDataModule):
        return "features are kept for the data sets of lit-cnn alone"
    if not holds_all_weights(strategy):
        return "the weights are sharded: use one device or `trainer.strategy=ddp`"
    try:
        only_trained_layer(task.backbone, task.hparams.get("num_classes"))
    except UserError as error:
        return str(error)
    for name, reason in NEED_IMAGES.items():
        if task.hparams.get(name):
            return f"{reason} (`model.{name}`)"
    return random_images(data)


def _images(trainer: Trainer, task: BaseTask, data: ImageDataModule, batch: Batch) -> Tensor:
    """The images of a batch as the backbone gets them, float (N, C, H, W), on its device."""
    moved = data.on_after_batch_transfer(trainer.strategy.batch_to_device(batch), 0)
    return moved.image.contiguous(memory_format=torch.channels_last) if task.hparams["channels_last"] else moved.image


def _compute(
    trainer: Trainer, task: BaseTask, data: ImageDataModule, frozen: FrozenFeatures, name: str
) -> FeatureSource:
    """Replace the images of a split by their features."""
    loader = image_batches(data, name, trainer.global_rank, trainer.world_size)
    source = replace_images(data, name, frozen.width, frozen.dtype)
    display = Display() if trainer.is_global_zero else None
    done = 0
    try:
        for batch in loader:
            if len(batch.index) == 0:  # this rank has run out of batches before the others
                continue
            with trainer.precision_plugin.forward_context():
                features = frozen.features(_images(trainer, task, data, batch))
            source.features[source.rows(batch.index).numpy()] = features.to("cpu", source.dtype).numpy()
            done += len(batch.index) * trainer.world_size
            if display is not None:
                display.show(f"features of {name} images", min(done, len(loader.indices)), len(loader.indices))
    finally:
        if display is not None:
            display.close()
    if trainer.world_size > 1:
        _share(source.features.reshape(-1), trainer.strategy.root_device)
    return source


def _share(features: Any, device: torch.device) -> None:
    """Add up the arrays of all ranks, in place: each has written other rows, and the rest is 0."""
    for start in range(0, len(features), SENT):
        part = features[start : start + SENT]
        total = torch.from_numpy(part).to(device)
        torch.distributed.all_reduce(total)
        part[:] = total.cpu().numpy()
