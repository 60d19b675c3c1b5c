"""The one LightningModule for classification: any backbone, its loss, its optimizer, what is measured."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchmetrics import MetricCollection

from lit_cnn.errors import UserError
from lit_cnn.models import get_model, input_error
from lit_cnn.models._freeze import Frozen
from lit_cnn.models._freeze import freeze as freeze_layers
from lit_cnn.models._weights import load_weights
from lit_cnn.optim.factory import build_optimizer, match_layouts, scale_rates
from lit_cnn.optim.lr_schedule import ScheduleName, build_scheduler, check_rates, group_settings, restore_settings
from lit_cnn.tasks.epoch_means import EpochMeans
from lit_cnn.tasks.losses import ClassificationLoss, LossName, split_outputs
from lit_cnn.tasks.metrics import ExactMean, accuracies, confusion_matrix
from lit_cnn.tasks.mixup import Mixer
from lit_cnn.tasks.tta import TTAName, averaged
from lit_cnn.utils.random import seed_generators, step_seed


class ImageClassifier(LightningModule):
    """Image classifier around a backbone of the model package.

    Batches are named tuples with ``image`` float (N, C, H, W), ``target`` int64 (N,) and ``index`` int64 (N,).

    Args:
        num_classes: number of classes K; comes from the data.
        in_channels: image channels C; comes from the data.
        backbone: model name, such as resnet18, googlenet, torchvision/NAME or timm/NAME.
        backbone_args: further arguments of the backbone, such as {stem: cifar}.
        weights: start from these weights: a file, or "imagenet" for torchvision's published ones (a download).
            Names and shapes must fit; whether resnet50 or resnet50_v1 was trained, a file does not tell.
        weights_strict: refuse a file that fits the backbone only in part.
        freeze: "backbone" trains the head alone; a number freezes that many blocks from the front, such as 3 for
            conv1, bn1 and layer1 of a resnet (99 lists them). The head is no block. Frozen batch normalisation
            keeps its statistics.
        optimizer: sgd (momentum 0.9, Nesterov), adamw, muon (for filters; SGD for all else), or any class of
            torch.optim by name.
        lr: peak learning rate; "auto": found by a learning-rate range test, for new training runs.
        lr_base_size: lr is meant for batches of so many images, all processes and accumulated batches together, and
            grows in proportion to their real number (Goyal et al. 2017, arXiv 1706.02677, section 2.1); null: for
            batches of any size. Muon's filters keep theirs, which is a share of their size.
        weight_decay: weight decay.
        optimizer_args: further arguments of the optimizer, such as {momentum: 0.95}.
        decay_norm_and_bias: apply weight decay to biases and normalisation weights too.
        lr_scheduler: shape of the learning rate over the run; it moves at every optimizer step.
        lr_warmup_epochs: linear warm-up, in epochs (fractions allowed).
        lr_step_size: for step: epochs between two drops.
        lr_gamma: for step: factor of each drop.
        lr_min: for cosine and linear: lowest learning rate.
        lr_stop: parameters that stop early: for a part of their names, the epoch until which their learning rate goes
            down to 0 in a straight line, such as {whiten.bias: 3}.
        loss: cross_entropy, or mse_softmax (mean squared error on softmax outputs).
        label_smoothing: share of the target spread over all classes in training.
        aux_weights: weight of every auxiliary head's loss, or one for each head.
        mixup_alpha: mixup's Beta parameter; 0 is off.
        cutmix_alpha: CutMix's Beta parameter; 0 is off.
        ema_decay: keep an exponential moving average of the weights with this decay, such as 0.999, and evaluate
            and store that; null is off.
        channels_last: keep images and weights in channels_last memory format, the faster one for convolutions.
        compile: compile the backbone with torch.compile.
        tta: what validate, test and predict average over: none, flip (mirror images too), flip_shift (and shifts by a
            pixel). Validation during training looks at the images alone.
        seed: seed of dropout and mixing; comes from seed_everything.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        backbone: str = "resnet18",
        backbone_args: dict[str, Any] | None = None,
        weights: str | None = None,
        weights_strict: bool = True,
        freeze: int | str | None = None,
        optimizer: str = "sgd",
        lr: float | Literal["auto"] = 0.1,
        lr_base_size: int | None = None,
        weight_decay: float = 5e-4,
        optimizer_args: dict[str, Any] | None = None,
        decay_norm_and_bias: bool = True,
        lr_scheduler: ScheduleName = "cosine",
        lr_warmup_epochs: float = 0.0,
        lr_step_size: int = 30,
        lr_gamma: float = 0.1,
        lr_min: float = 0.0,
        lr_stop: dict[str, float] | None = None,
        loss: LossName = "cross_entropy",
        label_smoothing: float = 0.0,
        aux_weights: float | list[float] = 0.3,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        ema_decay: float | None = None,
        channels_last: bool = True,
        compile: bool = False,  # named as in every other tool; the builtin is not needed here
        tta: TTAName = "none",
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_rates(self.hparams)
        if ema_decay is not None and not 0 <= ema_decay < 1:
            raise UserError(f"model.ema_decay must be in [0, 1), got {ema_decay}: 0.999 is usual, null is off")
        self.backbone = get_model(backbone, num_classes=num_classes, in_channels=in_channels, **(backbone_args or {}))
        self._frozen = freeze_layers(self.backbone, freeze, num_classes) if freeze is not None else Frozen([], set())
        for layer in self._frozen.modules:  # Lightning keeps the mode that every layer is in
            layer.eval()
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)
        if compile:
            self.backbone.compile()  # in place, so that state-dict keys stay the backbone's own
        self.loss = ClassificationLoss(loss, label_smoothing, aux_weights)
        self.mixer = Mixer(mixup_alpha, cutmix_alpha, num_classes)

        self.train_means = EpochMeans()
        scores = accuracies(num_classes)
        self.val_loss, self.test_loss = ExactMean(), ExactMean()
        self.val_scores, self.test_scores = scores.clone(), scores.clone()
        self.test_matrix = confusion_matrix(num_classes)
        self.test_confusion: Tensor | None = None  # int64 (K, K), true classes on rows, after a test epoch
        self.resumes = False  # whether a checkpoint is going to bring all weights; who loads one says so
        self._fresh_groups: list[dict[str, Any]] = []
        self._restored_means: dict[str, dict[str, Tensor]] = {}

    # -- forward ----------------------------------------------------------------------------------------------------

    def forward(self, image: Tensor) -> Any:
        """Backbone outputs for normalised images, float (N, C, H, W): logits (N, K), in training maybe with
        auxiliary ones.

        Raises:
            UserError: images of a shape that the backbone cannot take, or outputs that are no logits for K classes.
        """
        if self.hparams["channels_last"]:
            image = image.contiguous(memory_format=torch.channels_last)
        try:
            outputs = self.backbone(image)
        except (RuntimeError, ValueError, TypeError) as error:
            # A compiled network, unlike all others, raises no such error itself.
            if line := input_error(self.backbone, image):
                raise UserError(line) from error
            raise
        self._check_outputs(outputs, len(image))
        return outputs

    def _check_outputs(self, outputs: Any, count: int) -> None:
        """Refuse a backbone that does not end in a classifier."""
        name, expected = self.hparams["backbone"], (count, self.hparams["num_classes"])
        logits, aux = split_outputs(outputs)
        for head, output in {"": logits, **aux}.items():
            if output.shape == expected:
                continue
            who = f"auxiliary head {head} of {name}" if head else name
            why = "check --model.backbone_args"
            if not getattr(self.backbone, "include_top", True):
                why = "include_top=False gives features, not logits: leave it out to train a classifier"
            raise UserError(f"{who} gives {tuple(output.shape)}, but (N, K) = {expected} is expected here; {why}")

    def train(self, mode: bool = True) -> ImageClassifier:
        """As ``nn.Module.train``, except that frozen layers stay in evaluation mode: their statistics are frozen."""
        super().train(mode)
        for layer in self._frozen.modules:
            layer.eval()
        return self

    def setup(self, stage: str) -> None:
        """Take starting weights from the data or a file, unless a checkpoint brings them."""
        if stage != "fit" or self.resumes:
            return
        hparams = self.hparams
        if callable(init := getattr(self.backbone, "init_from_data", None)):
            init(self._some_images())
        if hparams["weights"]:
            report = load_weights(
                self.backbone,
                hparams["backbone"],
                hparams["weights"],
                strict=hparams["weights_strict"],
                num_classes=hparams["num_classes"],
                frozen=self._frozen.tensors,
            )
            if self.global_rank == 0:
                print(report)
        elif self._frozen.tensors and self.global_rank == 0:
            print(
                f"note: freeze={hparams['freeze']} without weights: what is frozen keeps its initial, random values; "
                "--model.weights FILE or imagenet starts from trained ones"
            )

    @torch.no_grad()
    def _some_images(self, count: int = 5000) -> Tensor:
        """The first training images as the backbone will see them, float (<= count, C, H, W).

        Under several processes the first one's weights are what all start from.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it in fit
        images: list[Tensor] = []
        for batch in data.train_dataloader():
            images.append(data.on_after_batch_transfer(batch, 0).image)
            if sum(map(len, images)) >= count:
                break
        return torch.cat(images)[:count]

    # -- training ---------------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One step; returns the scalar ``loss`` to minimise, and ``acc``, the batch's accuracy, to show."""
        # Dropout, mixing and the like then depend on the step alone, so a resumed run repeats them exactly.
        seed = step_seed(self.hparams["seed"], self.current_epoch, batch_idx, self.global_rank)
        seed_generators(seed, self.device)
        image, target = batch.image, batch.target
        if self.mixer:
            image, target = self.mixer(image, target)
        outputs = self(image)
        loss, parts = self.loss(outputs, target)
        logits, _ = split_outputs(outputs)
        return {"loss": loss, "acc": self.train_means.add(loss, parts, logits, target)}

    def on_train_epoch_end(self) -> None:
        """Log the means over all samples of the epoch, and the learning rate at its end."""
        if self.train_means.mean("loss").update_count == 0:  # resumed after the epoch's last step
            return
        # of an epoch that a limit cut, a resumed run goes on with the sums
        cut = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready < self.trainer.num_training_batches
        for name in self.train_means:
            self._log(f"train/{name}", self.train_means.mean(name), reset=not cut)
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        most = max(optimizer.param_groups, key=lambda group: sum(p.numel() for p in group["params"]))
        self.log("train/lr", most["lr"])

    def _log(self, name: str, metric: Any, reset: bool = True) -> None:
        """Log a metric's value over all processes, and start it anew."""
        value = metric.compute()  # already reduced over processes
        values = {f"{name}{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
        # identical on every process; sync_dist only tells Lightning so
        self.log_dict({k: v.float() for k, v in values.items()}, sync_dist=True, batch_size=1)
        if reset:
            metric.reset()

    # -- evaluation -------------------------------------------------------------------------------------------------

    def _evaluate(self, batch: Any, loss: ExactMean, scores: MetricCollection) -> Tensor | None:
        """Shared step of validation and test; returns logits float32 (N, K)."""
        if len(batch.target) == 0:  # a process that has run out of batches before the others
            return None
        logits = self._logits(batch.image)
        loss.update(self.loss.per_sample(logits, batch.target))
        scores.update(logits, batch.target)
        return logits

    def _logits(self, image: Tensor) -> Tensor:
        """Logits float32 (N, K) in evaluation mode."""
        return averaged(self, image, "none" if self.trainer.state.fn == "fit" else self.hparams.get("tta", "none"))

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor] | None:
        """Measure one batch; outside of training, return what a report needs, as ``test_step`` does."""
        logits = self._evaluate(batch, self.val_loss, self.val_scores)
        return None if logits is None or self.trainer.state.fn == "fit" else _predictions(batch, logits)

    def on_validation_epoch_end(self) -> None:
        """Log val/loss, val/acc and, with more than five classes, val/acc_top5."""
        self._log("val/loss", self.val_loss)
        self._log("val/", self.val_scores)

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor] | None:
        """Measure one batch and return what a report needs: index and target int64 (N,), probs float32 (N, K)."""
        logits = self._evaluate(batch, self.test_loss, self.test_scores)
        if logits is None:
            return None
        self.test_matrix.update(logits, batch.target)
        return _predictions(batch, logits)

    def on_test_epoch_end(self) -> None:
        """Log test/loss, test/acc, test/acc_top5; keep the confusion matrix for the report."""
        self._log("test/loss", self.test_loss)
        self._log("test/", self.test_scores)
        self.test_confusion = self.test_matrix.compute()
        self.test_matrix.reset()

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor] | None:
        """Probabilities of one batch, in the shape that ``test_step`` returns."""
        return None if len(batch.target) == 0 else _predictions(batch, self._logits(batch.image))

    # -- optimization -----------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Optimizer over what trains, and a schedule that moves at every optimizer step."""
        hparams = self.hparams
        trainer = self.trainer
        # Lightning refuses to clip what a fused optimizer could have scaled
        clips = bool(trainer.gradient_clip_val) and isinstance(trainer.precision_plugin, MixedPrecision)
        optimizer = build_optimizer(
            self.backbone,
            hparams["optimizer"],
            hparams["lr"],
            hparams["weight_decay"],
            hparams["optimizer_args"] or {},
            hparams["decay_norm_and_bias"],
            fused=not clips,
            stops=hparams["lr_stop"],
        )
        if hparams.get("lr_base_size"):
            images = trainer.datamodule.batch_size * trainer.world_size * trainer.accumulate_grad_batches  # type: ignore[attr-defined]  # set in fit
            scale_rates(optimizer, images / hparams["lr_base_size"])
        self._fresh_groups = group_settings(optimizer)
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise UserError("the learning-rate schedule needs an end: set --trainer.max_epochs or --trainer.max_steps")
        self.trainer.fit_loop.setup_data()  # does nothing the second time; a limit in steps alone does not need it
        per_epoch = max(1.0, self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        scheduler = build_scheduler(optimizer, hparams, int(total), per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Let this run's optimizer settings win over those that a checkpoint restored."""
        optimizer, scheduler = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert isinstance(scheduler, LambdaLR)
        restore_settings(optimizer, scheduler, self._fresh_groups)
        match_layouts(optimizer)
        self.train_means.resume(self._restored_means, self.global_rank)
        self._restored_means = {}

    def configure_callbacks(self) -> list[Callback]:
        """Weight averaging belongs to the model's settings, so it comes with the model."""
        decay = self.hparams["ema_decay"]
        if decay is None:
            return []
        # buffers (batch-norm statistics) are running averages already: take the newest
        return [WeightAveraging(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))]

    # -- checkpoints ------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the running means of a half epoch, and plain hyper-parameters only."""
        checkpoint.get("hyper_parameters", {}).pop("_instantiator", None)  # a class to import: not plain data
        checkpoint["train_means"] = self.train_means.sums()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the running means of a half epoch again."""
        self._restored_means = checkpoint.get("train_means", {})


def _predictions(batch: Any, logits: Tensor) -> dict[str, Tensor]:
    return {"index": batch.index, "target": batch.target, "probs": logits.softmax(1)}
