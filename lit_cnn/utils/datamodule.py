"""The data module and its batches, typed as tasks and callbacks see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, cast, runtime_checkable

from lightning.pytorch import Trainer
from torch import Tensor


class Batch(Protocol):
    """One batch of N samples on the device, after normalization and augmentation."""

    @property
    def image(self) -> Tensor:
        """Images, float (N, C, H, W)."""

    @property
    def target(self) -> Tensor:
        """Class indices, int64 (N,), below 0 where the class is unknown; of image to image float (N, C, H, W)."""

    @property
    def index(self) -> Tensor:
        """Positions of the samples in their split, int64 (N,)."""


class TrainLoader(Protocol):
    """Loader of the training split."""

    @property
    def targets(self) -> Tensor:
        """Targets of all training samples, whatever the rank."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches before :meth:`DataModule.on_after_batch_transfer`."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must share with the one that was stopped, as plain types."""


@runtime_checkable
class DataModule(Protocol):
    """The interface of ``trainer.datamodule`` that tasks, callbacks and checkpoints use.

    Attributes:
        batch_size: images per batch and rank.
        augment: a dataclass, the random changes to training images.
        task: kind of the task that the images are for.
    """

    batch_size: Any  # int; "auto" is resolved before there is a trainer
    augment: Any
    task: str

    @property
    def class_names(self) -> list[str]:
        """Class names in the order of the logits; known before ``setup``."""

    @property
    def num_classes(self) -> int:
        """Number of classes K."""

    @property
    def in_channels(self) -> int:
        """Number of image channels C."""

    def train_dataloader(self) -> TrainLoader:
        """A new loader of the training split."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """Normalize a batch on the device, and augment it in training."""

    def sample_name(self, split: str, index: int) -> str:
        """File or name of sample ``index`` of ``split`` (train, val, test or predict)."""

    def has_split(self, name: str) -> bool:
        """Whether there are images of split ``name`` (train, val or test)."""

    def skipped(self, split: str | None = None) -> dict[str, str]:
        """Unreadable images of ``split``, or of all splits, by name, with the reason."""

    def preprocessing(self) -> dict[str, Any]:
        """How images are prepared for evaluation, as plain types."""

    def order(self) -> dict[str, Any]:
        """What else decides the order of the training samples, as plain types."""

    def fingerprint(self) -> str:
        """Hash of the data."""

    def split_state(self) -> dict[str, Any]:
        """Indices of every split, as plain types and int64 tensors."""


def find_datamodule(trainer: Trainer) -> DataModule | None:
    """The data module that Lightning was given, or None where it was given data loaders."""
    return cast("DataModule | None", trainer.datamodule)  # type: ignore[attr-defined]  # Lightning does not declare it


def datamodule(trainer: Trainer) -> DataModule:
    """The data module of a run.

    Raises:
        TypeError: the trainer was given data loaders instead of one.
    """
    found = find_datamodule(trainer)
    if found is None:
        raise TypeError("the trainer has no data module: pass datamodule=… instead of data loaders")
    return found
