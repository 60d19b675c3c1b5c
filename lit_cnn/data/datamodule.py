"""ImageDataModule, the base class of every data set: splits, loaders, normalisation and augmentation on the device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from lit_cnn.data import normalization, registry, validation
from lit_cnn.data.decoding.geometry import Size, parse_size, plain
from lit_cnn.data.loading import threads
from lit_cnn.data.loading.loader import Batch, BatchLoader, shuffled_order, trainer_position
from lit_cnn.data.sampling import balanced
from lit_cnn.data.split import Split, not_held_out
from lit_cnn.data.transforms import image_ops
from lit_cnn.data.transforms.augment import Augment, augment_batch
from lit_cnn.errors import UserError
from lit_cnn.utils.batching import default_eval_batch_size
from lit_cnn.utils.console import say
from lit_cnn.utils.cpu import num_cores

NO_AUGMENT = Augment()
EVAL_BATCHES = 8  # at least, where batches would be larger than those of training


class ImageDataModule(LightningDataModule, ABC):
    """Base class of every data set: feeds labelled images to a task.

    Subclass it for a data set of your own: the subclass is registered under its class name when its module is imported,
    and that name is what the setting ``data`` takes. For images in memory the base is ``ArrayDataModule``, for files
    ``ImageFolder``, see ``list_files`` there. For anything else define ``default_shape``, ``data_classes``,
    ``build_splits`` and ``fingerprint``. Settings of your own are arguments of ``__init__``, the rest ``**kwargs``.

    Args:
        data_dir: Folder of the data.
        batch_size: Images per batch and process; "auto": as many as fit into memory, for new training runs.
        eval_batch_size: The same in validation, test and prediction, which need less memory; null: four times
            batch_size, but at most 1024 and no more than an eighth of the images.
        image_size: Side in pixels of the model's input, or height and width (96x128); null: the data set's own.
        channels: 1 (grey), 3 (RGB), or the number of bands; null: the data set's own.
        workers: Threads that decode files; null: the number of cores, at most 8; "auto": benchmarked. Same results.
        seed: The run's seed: decides the order of the training images and augmentation.
        split_seed: Seed of the split where the data set comes without a validation or test split.
        val_fraction: Share of the training images held out for validation, stratified by class; 0: no validation.
        augment: Random augmentation of training images.
        sampling: Training images of an epoch: natural (each once), or balanced (so many, but as many of each class).
        normalize: Mean and standard deviation for normalisation: "dataset" (published ones of the data set,
            computed if there are none), "imagenet", or "computed" (over the training images).
        mean: Per channel, in units of [0, 1]; with std it overrides normalize.
        std: Per channel, in units of [0, 1].
        class_names: Fixes the order of the classes; the classes of the data are matched by name.
    """

    def __init__(
        self,
        data_dir: str = "data",
        batch_size: int | Literal["auto"] = 64,
        eval_batch_size: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        channels: int | None = None,
        workers: int | Literal["auto"] | None = None,
        seed: int = 42,
        split_seed: int = 0,
        val_fraction: float = 0.1,
        augment: Augment = NO_AUGMENT,
        sampling: Literal["natural", "balanced"] = "natural",
        normalize: str = "dataset",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        class_names: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.data_dir, self.workers, self._given_classes = validation.folder(data_dir), workers, class_names
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed, self.split_seed, self.val_fraction = seed, split_seed, val_fraction
        self.augment, self.sampling, self.normalize, self.mean, self.std = augment, sampling, normalize, mean, std
        self._benchmarked_threads: int | None = None
        self._splits: dict[str, Split] = {}
        self._statistics: normalization.Statistics | None = None
        self._on_device: dict[torch.device, tuple[Tensor, Tensor]] = {}
        own_size, own_channels = self.default_shape()
        self.image_size = parse_size(own_size if image_size is None else image_size)
        self.channels = own_channels if channels is None else channels
        validation.check_loading(batch_size, eval_batch_size, workers, sampling)
        validation.check_channels(self.channels, augment)
        validation.check_normalization(normalize, mean, std, self.channels)
        validation.check_class_names(class_names)

    def __init_subclass__(cls, *, listed: bool = True, **kwargs: Any) -> None:
        """Register the class under its name; ``listed=False`` for one that users do not choose."""
        super().__init_subclass__(**kwargs)
        registry.register(cls, listed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(data_dir={self.data_dir!r}, batch_size={self.batch_size!r})"

    __str__ = __repr__  # Lightning's fails before setup

    task, multilabel, leaks = "classification", False, ""  # its kind; any number of labels; what two splits share

    # Hooks for subclasses ----

    @abstractmethod
    def default_shape(self) -> tuple[Size, int]:
        """Return image size (a side, or height and width) and channels for settings of null."""

    @abstractmethod
    def data_classes(self) -> list[str]:
        """Return the data's class names in their own order, before any setup, so it must be cheap."""

    @abstractmethod
    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return the splits asked for (of "train", "val", "test"), and others where they come at no cost.

        Targets are indices into ``class_names``, see ``remap_targets``. Raises UserError for a split that is absent.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of the data: of the sorted list of files with their sizes, or of the arrays."""

    def has_split(self, name: str) -> bool:
        """Whether there are images of split ``name``."""
        return True

    def published_statistics(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """Return published mean and std per channel, in units of [0, 1], or None."""
        return None

    def remap_targets(self, targets: Tensor) -> Tensor:
        """Renumber int64 ``targets`` from the order of ``data_classes`` to that of ``class_names``, by name."""
        own, names = self.data_classes(), self.class_names
        if own == names:
            return targets
        return torch.tensor([names.index(name) for name in own], dtype=torch.int64)[targets]

    def _training_order(self, indices: Tensor, seed: int, epoch: int) -> Tensor:
        """Return the training indices in the order of an epoch, a pure function of the arguments."""
        if self.sampling == "balanced":
            indices = balanced(indices, self._split("train").source.targets[indices], seed, epoch)
        return shuffled_order(indices, seed, epoch)

    def _reading_order(self, indices: Tensor) -> Tensor:
        """Return indices in the order that is read fastest, for sums over all of them."""
        return indices

    def _device_augment(self) -> Augment:
        """Return the operations that are still to be done on the device."""
        return self.augment

    # For the task, the callbacks and the command line ----

    @property
    def class_names(self) -> list[str]:
        """Class names by index; known before setup."""
        validation.check_initialized(self)
        own = self.data_classes()
        if self._given_classes is None:
            return own
        if unknown := [name for name in own if name not in self._given_classes]:
            raise UserError(
                f"the data have classes that the model does not have: {validation.some(unknown)}; "
                f"data: {validation.some(own)}; model: {validation.some(self._given_classes)}"
            )
        return list(self._given_classes)

    @property
    def num_classes(self) -> int:
        """Number of classes; known before setup."""
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        """Channels of the images; known before setup."""
        return self.channels

    def sample_name(self, split: str, index: int) -> str:
        """Return the file (relative to data_dir) or the name of the sample ``index`` in a batch of ``split``."""
        return self._split("test" if split == "predict" else split).source.name(int(index))

    def splits(self) -> dict[str, Split]:
        """Build and return every split of the data set."""
        self._require(*(name for name in ("train", "val", "test") if self.has_split(name)))
        return self._splits

    def skipped(self, split: str | None = None) -> dict[str, str]:
        """Return the unreadable images that were skipped: name, as of ``sample_name``, to reason.

        Of ``split`` (or "predict"), or of all. Without a folder per split it counts for each.
        """
        return {}

    def preprocessing(self) -> dict[str, Any]:
        """Return how images are prepared for evaluation: plain types, sufficient to prepare any other image alike.

        With ``normalize="computed"`` mean and std are known after setup; before, this computes them.
        """
        mean, std = self._normalization()
        return {"image_size": plain(self.image_size), "channels": self.channels, "mean": list(mean), "std": list(std)}

    def order(self) -> dict[str, Any]:
        """Return further settings that decide the training images and must not change on resume: plain types."""
        return {"sampling": self.sampling}

    def split_state(self) -> dict[str, Any]:
        """Return the indices of every split for the checkpoint: plain types and int64 tensors."""
        indices = {name: split.indices for name, split in self._splits.items()}
        return {"fingerprint": self.fingerprint(), "split_seed": self.split_seed, **indices}

    # Splits and loaders ----

    def setup(self, stage: str) -> None:
        """Build the splits for ``stage`` ("fit", "validate", "test" or "predict")."""
        self._require({"fit": "train", "validate": "val"}.get(stage, "test"))
        if stage == "fit" and self.has_split("val"):
            self._require("val")
        elif stage == "fit" and self.trainer is not None:
            self.trainer.limit_val_batches = 0
            say("no validation images: no best.ckpt is written; last.ckpt holds the trained model", error=True)
        self._statistics = normalization.on_rank_zero(self._normalization, self.trainer)

    def _require(self, *names: str) -> None:
        validation.check_initialized(self)
        if missing := [name for name in names if name not in self._splits]:
            self._splits.update(self.build_splits(missing))
        for name in names:
            if name not in self._splits:
                raise UserError(f"there are no {name} images; {not_held_out(name, self.has_split('val'))}")

    def _split(self, name: str) -> Split:
        self._require(name)
        return self._splits[name]

    def _loader(self, name: str, shuffle: bool = False) -> BatchLoader:
        if self.batch_size == "auto":
            raise UserError("`data.batch_size` is auto: lit-cnn fit finds a number, here give one")
        split, trainer = self._split(name), self.trainer
        rank, world = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        return BatchLoader(
            split.source,
            split.indices,
            batch_size=self.batch_size if name == "train" else self._eval_batch_size(len(split.indices)),
            shuffle=shuffle,
            seed=self.seed,
            rank=rank,
            world_size=world,
            workers=self._num_threads(split, shuffle),
            position=partial(trainer_position, trainer) if shuffle and trainer is not None else None,
            fingerprint=self.fingerprint(),
            pin=trainer is not None and trainer.strategy.root_device.type == "cuda",
            order=self._training_order,
        )

    def _eval_batch_size(self, images: int) -> int:
        """Return the images of an evaluation batch; independent of the number of ranks, so that results are too."""
        if self.eval_batch_size is not None:
            return self.eval_batch_size
        assert self.batch_size != "auto"
        return max(self.batch_size, min(default_eval_batch_size(self.batch_size), images // EVAL_BATCHES))

    def _num_threads(self, split: Split | None = None, shuffle: bool = False) -> int:
        """Return the number of decoding threads; for a loader of ``split`` it is benchmarked where it is "auto"."""
        cores = num_cores(1 if self.trainer is None else self.trainer.num_devices)
        if self.workers != "auto" or split is None:
            return threads.default_num_threads(self.workers, cores)
        if self._benchmarked_threads is None:
            indices, epoch = (shuffled_order(split.indices, self.seed, 0), 0) if shuffle else (split.indices, None)
            batch = int(self.batch_size)  # _loader refuses auto
            self._benchmarked_threads, speeds = threads.benchmark_threads(split.source, indices, batch, epoch, cores)
            say(f"workers auto: {self._benchmarked_threads} ({speeds})")
        return self._benchmarked_threads

    def train_dataloader(self) -> BatchLoader:
        """Shuffled training batches."""
        # Lightning's overfit_batches means the same few batches in every epoch.
        return self._loader("train", shuffle=not getattr(self.trainer, "overfit_batches", 0))

    def val_dataloader(self) -> BatchLoader:
        """Validation batches in order."""
        return self._loader("val")

    def test_dataloader(self) -> BatchLoader:
        """Test batches in order."""
        return self._loader("test")

    predict_dataloader = test_dataloader

    def _normalization(self) -> normalization.Statistics:
        if self._statistics is None:
            published = self.published_statistics()
            self._statistics = normalization.choose(self.normalize, self.mean, self.std, published, self.channels)
        if self._statistics is None:
            split, workers = self._split("train"), self._num_threads()
            loader = BatchLoader(split.source, self._reading_order(split.indices), batch_size=256, workers=workers)
            self._statistics = normalization.compute(loader)
        return self._statistics

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise a batch on its device, and augment it in training."""
        if not isinstance(batch, Batch) or batch.image.dtype != torch.uint8:
            return batch
        device, trainer = batch.image.device, self.trainer
        if device not in self._on_device:
            values = self._normalization()
            self._on_device[device] = torch.tensor(values[0], device=device), torch.tensor(values[1], device=device)
        mean, std = self._on_device[device]
        if trainer is not None and trainer.training:
            ops, epoch = self._device_augment(), trainer.current_epoch
            kwargs: Any = {"seed": self.seed, "epoch": epoch, "epochs": trainer.max_epochs, "mean": mean, "std": std}
            image = augment_batch(batch.image, batch.index, augment=ops, **kwargs)
        else:
            image = image_ops.normalize(batch.image, mean, std)
        if trainer is not None:  # before this hook, half and double precision convert no integers
            image = trainer.precision_plugin.convert_input(image)
        return batch._replace(image=image)
