"""Base of all tasks: optimizer, schedule, weight averaging, running means, seeds, frozen layers, starting weights.

A task subclasses :class:`BaseTask` and defines ``configure_losses``, ``configure_metrics``, ``train_batch``,
``evaluate_batch``, ``predict_batch`` and ``outputs``; if its backbone is not a classifier, ``network`` too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.plugins.precision import DoublePrecision
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import Metric, MetricCollection

from lit_cnn.errors import UserError
from lit_cnn.models import get_model, input_error
from lit_cnn.models._frozen_features import FrozenFeatures
from lit_cnn.optim.factory import match_memory_formats
from lit_cnn.optim.lr_schedule import apply_group_settings, group_settings
from lit_cnn.optim.weight_averaging import WeightEMA
from lit_cnn.tasks.backbone import first_images, init_backbone, kept_statistics, prepare_backbone
from lit_cnn.tasks.metrics import EpochMeans, ExactMean
from lit_cnn.tasks.optimization import check_optimization, configure, schedule
from lit_cnn.tasks.outputs import EvaluationOutput, RestorationOutput
from lit_cnn.tasks.unfreezing import Unfreezing
from lit_cnn.utils.datamodule import Batch, datamodule
from lit_cnn.utils.random import seed_generators, step_seed

Output = EvaluationOutput | RestorationOutput


@runtime_checkable
class Task(Protocol):
    """The interface of a task that callbacks, strategies and commands use, besides that of every LightningModule.

    ``validation_step``, ``test_step`` and ``predict_step`` return :class:`~lit_cnn.tasks.outputs.EvaluationOutput`, or
    None on a rank that has run out of batches. ``training_step`` returns scalars by name: ``loss``, and what else the
    progress bar shows.

    Attributes:
        backbone: the network; the task has no other parameters.
        train_means: running means over the training samples of this epoch.
        test_confusion: confusion matrix int64 (K, K) over all ranks, true classes on rows, after a test epoch; None
            before it and for tasks without classes.
        resumes: whether a checkpoint brings all weights; set by whoever loads one, before ``setup``.
    """

    backbone: nn.Module
    train_means: EpochMeans
    test_confusion: Tensor | None
    resumes: bool

    @property
    def title(self) -> str:
        """Title of figures: the name of the backbone."""

    @property
    def ema_decay(self) -> float | None:
        """Decay of the averaged weights that are evaluated and stored; None without averaging."""


def as_task(module: LightningModule) -> Task:
    """The module that a callback was given, typed as a task."""
    return cast(Task, module)


class BaseTask(LightningModule, ABC):
    """What all tasks share.

    A subclass names its settings one by one in its constructor, as the command line makes its options from them, and
    calls ``super().__init__()`` first: it stores them in ``hparams`` and calls ``configure_models``,
    ``configure_losses`` and ``configure_metrics`` in this order. Among the settings are in_channels, backbone,
    backbone_args, weights, weights_strict, freeze, optimizer, lr, lr_base_size, weight_decay, optimizer_args,
    decay_norm_and_bias, lr_scheduler, lr_warmup_epochs, lr_step_size, lr_gamma, lr_min, lr_stop, ema_decay,
    channels_last, compile and seed, with the meaning that they have in
    :class:`~lit_cnn.tasks.classification.ImageClassifier`.

    Metrics are logged as ``train/NAME`` for each of ``train_means``, and as ``SPLIT/loss`` and ``SPLIT/NAME`` for each
    of ``val_scores`` and ``test_scores``.

    Checkpoints also hold ``train_means``, sums over all ranks, so that a resumed epoch ends with the same numbers.

    Attributes:
        kind: name of the task, by which data sets ask for it.
        score: metric that the best epoch is chosen by, and that the progress bar shows.
        measured: metrics that a run can be judged by; from_data: settings that the data set gives.
    """

    kind: ClassVar[str] = ""
    score: ClassVar[str] = "acc"
    measured: ClassVar[tuple[str, ...]] = ()
    from_data: ClassVar[tuple[str, ...]] = ()
    backbone: nn.Module
    val_scores: MetricCollection
    test_scores: MetricCollection

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters()  # of the subclass, whose constructor calls this one
        check_optimization(self.hparams)
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise UserError(f"`model.ema_decay` must be in [0, 1), got {self.ema_decay}: 0.999 is usual, null is off")
        self.configure_models()
        frozen = prepare_backbone(self.backbone, self.hparams)
        statistics = kept_statistics(self.backbone, self.hparams)
        self._unfreezing = Unfreezing(self.backbone, frozen, self.hparams.get("freeze_epochs"), statistics)
        self.frozen_features: FrozenFeatures | None = None  # of FeatureCache: batches hold these, not images
        self.configure_losses()
        self.train_means = EpochMeans("loss")
        self.val_loss, self.test_loss = ExactMean(), ExactMean()
        self.configure_metrics()
        self.test_confusion: Tensor | None = None
        self.resumes = False
        self._initial_groups: list[dict[str, Any]] = []  # the optimizer's settings, before a checkpoint's
        self._restored_means: dict[str, dict[str, Tensor]] = {}

    @property
    def title(self) -> str:
        """Title of figures: the name of the backbone."""
        return str(self.hparams["backbone"])

    @property
    def ema_decay(self) -> float | None:
        """Decay of the averaged weights that are evaluated and stored; None without averaging."""
        return self.hparams["ema_decay"]

    # -- what a task defines ----------------------------------------------------------------------------------------

    def configure_models(self) -> None:
        """Build ``backbone``."""
        self.backbone = self.network(self.hparams)

    @staticmethod
    def network(settings: Mapping[str, Any]) -> nn.Module:
        """The network of these settings of the model; by default the classifier of that name."""
        sizes = {name: settings[name] for name in ("num_classes", "in_channels")}
        return get_model(settings["backbone"], **sizes, **(settings["backbone_args"] or {}))

    @abstractmethod
    def configure_losses(self) -> None:
        """Build the loss."""

    @abstractmethod
    def configure_metrics(self) -> None:
        """Build ``val_scores`` and ``test_scores``."""

    @abstractmethod
    def train_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of a training batch, a scalar to minimize, as ``loss``, and scalars for the progress bar by name.

        Adds what is logged over the epoch to ``train_means``.
        """

    @abstractmethod
    def evaluate_batch(self, batch: Batch, split: str) -> Tensor:
        """Update the metrics of ``split`` (val or test); returns the predictions, (N, …)."""

    @abstractmethod
    def predict_batch(self, batch: Batch) -> Tensor:
        """Predictions (N, …) of a batch without targets."""

    @abstractmethod
    def outputs(self, batch: Batch, predictions: Tensor) -> Output:
        """What a report needs of a batch."""

    def check_outputs(self, outputs: Any, count: int) -> None:
        """Refuse outputs of the backbone for ``count`` images that do not fit the task."""

    # -- forward ----------------------------------------------------------------------------------------------------

    def forward(self, image: Tensor) -> Any:
        """Backbone outputs for normalized images, float (N, C, H, W).

        Raises:
            UserError: images of a shape that the backbone cannot take, or outputs that do not fit the task.
        """
        network = self.backbone if self.frozen_features is None or image.ndim != 2 else self.frozen_features
        if self.hparams["channels_last"] and network is self.backbone:
            image = image.contiguous(memory_format=torch.channels_last)
        try:
            outputs = network(image)
        except (RuntimeError, ValueError, TypeError) as error:
            # A compiled network does not explain a wrong input itself, as all others do.
            if line := input_error(self.backbone, image):
                raise UserError(line) from error
            raise
        self.check_outputs(outputs, len(image))
        return outputs

    def train(self, mode: bool = True) -> BaseTask:
        """As ``nn.Module.train``, but frozen layers stay in evaluation mode, so that their statistics stay frozen."""
        super().train(mode)
        for name in self._unfreezing.modules(self.current_epoch):
            self.backbone.get_submodule(name).eval()
        return self

    def setup(self, stage: str) -> None:
        """Load starting weights or compute them from the data, unless a checkpoint brings them."""
        if stage == "fit" and not self.resumes:
            # on several ranks, all start from rank zero's weights
            init_backbone(
                self.backbone, self.hparams, self._unfreezing.lasting, lambda: first_images(datamodule(self.trainer))
            )
        elif isinstance(self.trainer.precision_plugin, DoublePrecision):
            self.double()  # Lightning does so after it has restored a checkpoint, whose weights would be rounded

    # -- steps ------------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """:meth:`train_batch`, with random generators that are seeded by the step alone.

        Dropout, mixing and the like are then repeated exactly by a resumed run.
        """
        seed = step_seed(self.hparams["seed"], self.current_epoch, batch_idx, self.global_rank)
        seed_generators(seed, self.device)
        return self.train_batch(batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> Output | None:
        """Update the validation metrics and return what a report, or a calibration during ``fit``, needs."""
        if len(batch.target) == 0:  # this rank has run out of batches before the others
            return None
        predictions = self.evaluate_batch(batch, "val")
        return self.outputs(batch, predictions)

    def test_step(self, batch: Batch, batch_idx: int) -> Output | None:
        """Update the test metrics and return what a report needs."""
        return None if len(batch.target) == 0 else self.outputs(batch, self.evaluate_batch(batch, "test"))

    def predict_step(self, batch: Batch, batch_idx: int) -> Output | None:
        """Predictions of one batch, in the form that ``test_step`` returns."""
        return None if len(batch.target) == 0 else self.outputs(batch, self.predict_batch(batch))

    # -- logging ----------------------------------------------------------------------------------------------------

    def on_train_epoch_end(self) -> None:
        """Log the means over all samples of the epoch, and the learning rate at its end."""
        if self.train_means.mean("loss").update_count == 0:  # resumed after the epoch's last step
            return
        # an epoch truncated by a limit is completed by the run that resumes it: keep the sums
        truncated = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready < self.trainer.num_training_batches
        for name in self.train_means:
            self._log(f"train/{name}", self.train_means.mean(name), reset=not truncated)
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        largest = max(optimizer.param_groups, key=lambda group: sum(p.numel() for p in group["params"]))
        self.log("train/lr", largest["lr"])

    def on_validation_epoch_end(self) -> None:
        """Log val/loss and the other validation metrics."""
        self._log("val/loss", self.val_loss)
        self._log("val/", self.val_scores)

    def on_test_epoch_end(self) -> None:
        """Log test/loss and the other test metrics."""
        self._log("test/loss", self.test_loss)
        self._log("test/", self.test_scores)

    def _log(self, name: str, metric: Metric | MetricCollection, reset: bool = True) -> None:
        """Log a metric's value over all ranks, and reset it."""
        value = metric.compute()  # already reduced over ranks
        values = {f"{name}{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
        # identical on every rank; without sync_dist Lightning would warn
        self.log_dict({k: v.float() for k, v in values.items()}, sync_dist=True, batch_size=1)
        if reset:
            metric.reset()

    # -- optimization -----------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Optimizer over the trainable parameters, and a schedule that is stepped with it.

        Raises:
            UserError: the run has no end, which the schedule needs.
        """
        optimizer = configure(self.backbone, self.hparams, self.trainer)
        self._initial_groups = group_settings(optimizer)
        scheduler = schedule(optimizer, self.hparams, self.trainer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Override the optimizer settings that a checkpoint restored by this run's, and resume the running means."""
        optimizer, scheduler = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert isinstance(scheduler, LambdaLR)
        apply_group_settings(optimizer, scheduler, self._initial_groups)
        match_memory_formats(optimizer)
        self.train_means.resume(self._restored_means, self.global_rank)
        self._restored_means = {}
        self.on_train_epoch_start()  # not called by a run that is resumed within an epoch

    def on_train_epoch_start(self) -> None:
        """Freeze or unfreeze layers, see ``model.freeze_epochs``."""
        if self._unfreezing.epochs is not None:
            self._unfreezing.start_epoch(self.backbone, self.current_epoch, self.trainer.world_size)
            self.train()

    def on_after_backward(self) -> None:
        """Drop gradients of frozen layers."""
        self._unfreezing.drop_gradients(self.backbone, self.current_epoch, self.trainer.world_size)

    def configure_callbacks(self) -> list[Callback]:
        """Weight averaging (EMA) where ``ema_decay`` is set: it is a setting of the model."""
        return [] if self.ema_decay is None else [WeightEMA(self.ema_decay)]

    # -- checkpoints ------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the running means, and keep hyper-parameters plain."""
        checkpoint.get("hyper_parameters", {}).pop("_instantiator", None)  # a class to import: not plain data
        checkpoint["train_means"] = self.train_means.sums()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the running means until the optimizer is there."""
        self._restored_means = checkpoint.get("train_means", {})
