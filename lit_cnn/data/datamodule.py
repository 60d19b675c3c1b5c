"""What every image set shares: its parts, its loaders, normalisation and augmentation on the device."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from lit_cnn.data import normalization
from lit_cnn.data.loading import threads
from lit_cnn.data.loading.loader import Batch, BatchLoader, Source, shuffled
from lit_cnn.data.transforms import augment as ops
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.data.transforms.rng import permutation
from lit_cnn.data.validation import check_settings
from lit_cnn.errors import UserError
from lit_cnn.utils.batching import default_eval_batch_size
from lit_cnn.utils.cpu import num_cores

log = logging.getLogger(__name__)

NO_AUGMENT = Augment()
EVAL_BATCHES = 8  # at least, where batches would be larger than those of training


@dataclass
class Part:
    """One part of a set: rows of a source."""

    source: Source
    rows: Tensor  # int64 (N,), ascending


class ImageDataModule(LightningDataModule, ABC):
    """Feeds labelled images to a task.

    Args:
        data_dir: Folder of the data.
        batch_size: Images per batch and process; "auto": as many as fit into memory, for new training runs.
        eval_batch_size: Images per batch and process in validation, test and prediction, which need less memory;
            null: four times batch_size, but at most 1024 and so few that there are eight batches to share out.
        image_size: Height and width in pixels the model sees; null: the set's own.
        channels: 1 (grey) or 3 (RGB); null: the set's own.
        workers: Threads that decode files; null: as many as there are cores, at most 8; "auto": the fewest that are
            nearly the fastest, by trying for a second. Results do not depend on it.
        seed: Of the run: order of the training images and augmentation.
        split_seed: Decides which images are cut off for validation and test where the set does not say.
        val_fraction: Share of the training images cut off for validation, in every class alike.
        augment: Random changes to training images.
        normalize: Whose mean and standard deviation are subtracted and divided by: "dataset" (the published ones of
            the set), "imagenet", or "computed" (over this set's training images).
        mean: Per channel, in units of [0, 1]; overrides normalize, together with std.
        std: Per channel, in units of [0, 1].
        class_names: Fixes the order of the classes; the data's classes are matched to it by name.
    """

    def __init__(
        self,
        data_dir: str = "data",
        batch_size: int | Literal["auto"] = 64,
        eval_batch_size: int | None = None,
        image_size: int | None = None,
        channels: int | None = None,
        workers: int | Literal["auto"] | None = None,
        seed: int = 42,
        split_seed: int = 0,
        val_fraction: float = 0.1,
        augment: Augment = NO_AUGMENT,
        normalize: str = "dataset",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        class_names: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.data_dir, self.workers = data_dir, workers
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed, self.split_seed, self.val_fraction = seed, split_seed, val_fraction
        self.augment, self.normalize, self.mean, self.std = augment, normalize, mean, std
        self._measured_workers: int | None = None
        self._given_classes = class_names
        self._parts: dict[str, Part] = {}
        self._statistics: tuple[list[float], list[float]] | None = None
        self._on_device: dict[torch.device, tuple[Tensor, Tensor]] = {}
        own_size, own_channels = self._own_shape()
        self.image_size = own_size if image_size is None else image_size
        self.channels = own_channels if channels is None else channels
        check_settings(self, class_names)

    # What a child says about its set ----

    @abstractmethod
    def _own_shape(self) -> tuple[int, int]:
        """Return image size and channels that hold where the user says nothing."""

    def _own_statistics(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """Return published mean and std per channel, or None."""
        return None

    @abstractmethod
    def _own_classes(self) -> list[str]:
        """Return the data's class names in their own order; cheap, before any setup."""

    @abstractmethod
    def _build(self, names: Sequence[str]) -> dict[str, Part]:
        """Return the parts asked for (of "train", "val", "test") and perhaps others that came along.

        Raises UserError where there is no such part.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of the data: of the sorted list of files with their sizes, or of the arrays."""

    def _shuffled(self, rows: Tensor, seed: int, epoch: int) -> Tensor:
        """Return the training images' rows in the order of an epoch, a pure function of the arguments."""
        return shuffled(rows, seed, epoch)

    def _in_reading_order(self, rows: Tensor) -> Tensor:
        """Return rows in the order that is read fastest, for sums over all of them."""
        return rows

    # What the task and the command line ask ----

    @property
    def class_names(self) -> list[str]:
        """Names of the classes by index; known before setup."""
        own = self._own_classes()
        if self._given_classes is None:
            return own
        unknown = [name for name in own if name not in self._given_classes]
        if unknown:
            raise UserError(
                f"the data have classes the model does not know: {', '.join(unknown)}; "
                f"data: {', '.join(own)}; model: {', '.join(self._given_classes)}"
            )
        return list(self._given_classes)

    @property
    def num_classes(self) -> int:
        """Number of classes; known before setup."""
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        """Channels of the images, 1 or 3; known before setup."""
        return self.channels

    def sample_name(self, split: str, index: int) -> str:
        """Return the file (relative to data_dir) or the name of sample ``index`` of a batch of ``split``."""
        return self._part("test" if split == "predict" else split).source.name(int(index))

    def parts(self) -> dict[str, Part]:
        """Read every part there is."""
        self._require("train", "val", "test")
        return self._parts

    def skipped(self, split: str | None = None) -> dict[str, str]:
        """Return the images left out because they cannot be read, by the name ``sample_name`` would give, with reasons.

        Of ``split`` ("train", "val", "test", "predict"), or of all. An unreadable image of a set that is split here
        belongs to no part, so there they all count for each.
        """
        return {}

    def preprocessing(self) -> dict[str, Any]:
        """Return how images are prepared for evaluation: plain types, enough to do the same to any picture later.

        With ``normalize="computed"`` mean and std are known after setup only; before, they are computed here.
        """
        mean, std = self._normalization()
        return {"image_size": self.image_size, "channels": self.channels, "mean": list(mean), "std": list(std)}

    def order(self) -> dict[str, Any]:
        """Return what else decides the training images and must not change when a run goes on: plain types."""
        return {}

    def split_state(self) -> dict[str, Any]:
        """Return which samples are in which part: plain types and int64 tensors, to be stored in a checkpoint."""
        return {
            "fingerprint": self.fingerprint(),
            "split_seed": self.split_seed,
            **{name: part.rows for name, part in self._parts.items()},
        }

    # Parts and loaders ----

    def setup(self, stage: str) -> None:
        """Read what ``stage`` ("fit", "validate", "test" or "predict") needs."""
        wanted = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}[stage]
        self._require(*wanted)
        self._normalization()

    def _require(self, *names: str) -> None:
        missing = [name for name in names if name not in self._parts]
        if missing:
            self._parts.update(self._build(missing))

    def _part(self, name: str) -> Part:
        self._require(name)
        return self._parts[name]

    def _fixed_targets(self, targets: Tensor) -> Tensor:
        """Renumber ``targets`` from the data's own class order to that of ``class_names``, by name."""
        own, names = self._own_classes(), self.class_names
        if own == names:
            return targets
        return torch.tensor([names.index(name) for name in own], dtype=torch.int64)[targets]

    def _loader(self, name: str, shuffle: bool = False) -> BatchLoader:
        if self.batch_size == "auto":
            raise UserError("data.batch_size is auto: lit-cnn fit finds a number, here give one")
        part, trainer = self._part(name), self.trainer
        rank, world = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        return BatchLoader(
            part.source,
            part.rows,
            batch_size=self.batch_size if name == "train" else self._eval_batch_size(len(part.rows)),
            shuffle=shuffle,
            seed=self.seed,
            rank=rank,
            world_size=world,
            workers=self._workers(part, shuffle),
            position=self._position if shuffle and trainer is not None else None,
            fingerprint=self.fingerprint(),
            pin=trainer is not None and trainer.strategy.root_device.type == "cuda",
            order=self._shuffled,
        )

    def _eval_batch_size(self, images: int) -> int:
        """Return the images of an evaluation batch: not by the number of processes, so that none changes a result."""
        if self.eval_batch_size is not None:
            return self.eval_batch_size
        assert self.batch_size != "auto"
        return max(self.batch_size, min(default_eval_batch_size(self.batch_size), images // EVAL_BATCHES))

    @property
    def _speaks(self) -> bool:
        """Whether this process is the one that logs what all of them see."""
        return self.trainer is None or self.trainer.is_global_zero

    def _workers(self, part: Part | None = None, shuffle: bool = False) -> int:
        """Return how many threads decode; for a loader of ``part`` it may be measured, once."""
        cores = num_cores(1 if self.trainer is None else max(1, self.trainer.num_devices))
        if self.workers != "auto" or part is None:
            return threads.number(self.workers, cores)
        if self._measured_workers is None:
            assert self.batch_size != "auto"  # the loader has seen to it
            rows = part.rows[permutation(self.seed, 0, len(part.rows))] if shuffle else part.rows
            epoch = 0 if shuffle else None
            self._measured_workers, why = threads.measured(part.source, rows, self.batch_size, epoch, cores)
            if self._speaks:
                print(f"workers auto: {self._measured_workers} ({why})")
        return self._measured_workers

    def _position(self) -> tuple[int, int]:
        """Return the epoch and the batches done in it, by the trainer's progress, which a checkpoint restores."""
        assert self.trainer is not None
        loop = self.trainer.fit_loop
        epochs: Any = loop.epoch_progress.current
        return epochs.processed, loop.epoch_loop.batch_progress.current.ready

    def train_dataloader(self) -> BatchLoader:
        """Shuffled training batches."""
        # Lightning's overfit_batches means: the same few batches every epoch.
        return self._loader("train", shuffle=not getattr(self.trainer, "overfit_batches", 0))

    def val_dataloader(self) -> BatchLoader:
        """Validation batches in order."""
        return self._loader("val")

    def test_dataloader(self) -> BatchLoader:
        """Test batches in order."""
        return self._loader("test")

    def predict_dataloader(self) -> BatchLoader:
        """The test batches."""
        return self._loader("test")

    # On the device ----

    def _normalization(self) -> tuple[list[float], list[float]]:
        if self._statistics is None:
            self._statistics = self._given_statistics()
        if self._statistics is None:
            part = self._part("train")
            self._statistics = normalization.compute(
                BatchLoader(part.source, self._in_reading_order(part.rows), batch_size=256, workers=self._workers())
            )
        return self._statistics

    def _given_statistics(self) -> tuple[list[float], list[float]] | None:
        if self.mean is not None and self.std is not None:
            return list(self.mean), list(self.std)
        if self.normalize == "imagenet":
            return normalization.imagenet(self.channels)
        if self.normalize == "computed":
            return None
        own = self._own_statistics()
        if own is None:
            raise UserError(f"{type(self).__name__} has no published mean and std: set --data.normalize computed")
        return normalization.of_channels(own, self.channels)

    def _device_augment(self) -> Augment:
        """Return the operations left to do on the device."""
        return self.augment

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise a batch where it is, and augment it when the trainer is training."""
        if not isinstance(batch, Batch) or batch.image.dtype != torch.uint8:
            return batch
        device = batch.image.device
        if device not in self._on_device:
            values = self._normalization()
            self._on_device[device] = torch.tensor(values[0], device=device), torch.tensor(values[1], device=device)
        mean, std = self._on_device[device]
        trainer = self.trainer
        if trainer is not None and trainer.training:
            image = ops.augment_batch(
                batch.image,
                batch.index,
                augment=self._device_augment(),
                seed=self.seed,
                epoch=trainer.current_epoch,
                mean=mean,
                std=std,
            )
        else:
            image = ops.normalize(batch.image, mean, std)
        if trainer is not None:  # half and double precision convert inputs before this hook, when they were integers
            image = trainer.precision_plugin.convert_input(image)
        return batch._replace(image=image)
