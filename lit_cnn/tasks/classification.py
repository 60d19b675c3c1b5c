"""ImageClassifier: the LightningModule that trains any backbone to classify images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.optim.lr_schedule import ScheduleName
from lit_cnn.tasks.base import BaseTask
from lit_cnn.tasks.class_weights import (
    ClassWeights,
    check_class_weights,
    describe_class_weights,
    resolve_class_weights,
)
from lit_cnn.tasks.distillation import Teacher, check_distillation, distillation_loss, label_distillation_loss
from lit_cnn.tasks.losses import ClassificationLoss, split_outputs
from lit_cnn.tasks.metrics import ConfusionMatrix, accuracies, count_correct
from lit_cnn.tasks.mixup import Mixer
from lit_cnn.tasks.multi_label import count_exact, label_scores
from lit_cnn.tasks.outputs import EvaluationOutput
from lit_cnn.tasks.tta import TTAName, average_logits
from lit_cnn.utils.console import say
from lit_cnn.utils.datamodule import Batch, datamodule


class ImageClassifier(BaseTask):
    """Image classifier around a backbone of the model package.

    Batches are named tuples with ``image`` float (N, C, H, W), ``index`` int64 (N,) and ``target`` int64 (N,), or with
    any number of labels an image uint8 (N, K).

    Args:
        num_classes: number of classes K; comes from the data.
        in_channels: image channels C; comes from the data.
        backbone: model name, such as resnet18, googlenet, torchvision/NAME or timm/NAME.
        backbone_args: further arguments of the backbone, such as {stem: cifar}.
        weights: start from these weights: a file, "imagenet" for the published ones of torchvision and timm, or
            hf:OWNER/NAME[@REVISION] of the Hugging Face Hub (downloads). Names and shapes must fit; those
            of resnet50 and resnet50_v1 are the same.
        weights_strict: refuse a file that fits the backbone only in part.
        weights_key: take the weights under this key of the file, such as state_dict_ema; null: those that fit best, and
            of copies that fit alike the averaged ones.
        freeze: "backbone" trains the head alone; a number freezes that many blocks from the front, such as 3 for
            conv1, bn1 and layer1 of a resnet (99 lists them). The head is not a block. Frozen batch
            normalization keeps its statistics.
        freeze_epochs: freeze for so many epochs only, then train all layers; null: for all. What is unfrozen joins the
            schedule where it is then.
        freeze_bn: batch normalization keeps the mean and variance that the weights bring, and trains only its scale and
            shift: for fine-tuning on few images, whose own statistics are others.
        cache_features: with a frozen backbone, compute what it gives for each image once and train the head on that,
            which is the same computation, many times faster: true, false, or "auto", where training images are not
            augmented. The features (D floats an image) are in memory, or beyond 1 GB on disk in $LIT_CNN_CACHE.
        head_init: first values of a head that the weights do not bring: "model", the network's own, or "zeros", so that
            features count for nothing before the head has learned them (Kolesnikov et al. 2020, arXiv 1912.11370,
            section 3.3). Random values stay in the head where there are more features than images.
        optimizer: sgd (momentum 0.9, Nesterov), adamw, muon (for filters; SGD for all else), keras_rmsprop, or any
            class of torch.optim by name.
        lr: peak learning rate; null: the optimizer's own, 0.1 for SGD and torch's for others, such as 0.001 for adamw;
            "auto": found by a learning-rate range test, for new training runs.
        lr_base_size: lr is meant for this many images per optimizer step, over all ranks and accumulated batches, and
            is scaled in proportion to their actual number (Goyal et al. 2017, arXiv 1706.02677, section 2.1); null:
            no scaling. Muon's learning rate of filters, a share of their size, is never scaled.
        weight_decay: weight decay.
        optimizer_args: further arguments of the optimizer, such as {momentum: 0.95}.
        decay_norm_and_bias: apply weight decay to biases and normalization weights too.
        lr_scheduler: shape of the learning rate over the run, which changes at every optimizer step.
        lr_warmup_epochs: linear warm-up, in epochs (fractions allowed).
        lr_step_size: for step: epochs between two drops.
        lr_gamma: for step: factor of each drop.
        layer_decay: layer-wise decay of the learning rate: the last block has this share of lr, the one before its
            square, and so on to the first; blocks are those that freeze counts. 0.75 is usual; null is off.
        head_lr_scale: multiplies the learning rate of the head, such as 10 for a new one on trained weights; null: 1.
        lr_min: for cosine and linear: lowest learning rate.
        lr_stop: parameters that stop training early: a part of their names, and the epoch at which their learning
            rate has fallen linearly to 0, such as {whiten.bias: 3}.
        loss: cross_entropy, mse_softmax (mean squared error on softmax outputs), bce (binary cross-entropy of each
            class on its own), focal (cross-entropy with less weight on what is easy), or one that your own package
            registers.
        focal_gamma: for focal: how much less; 0 is cross_entropy.
        class_weights: weight of each class in the training loss: balanced (in inverse proportion to its training
            images), a list in the order of the classes, or some by name, such as {rare: 5}; null: none.
        label_smoothing: share of the target spread over all classes in training.
        aux_weights: weight of every auxiliary head's loss, or a list with one for each head.
        mixup_alpha: mixup's Beta parameter; 0 is off.
        cutmix_alpha: CutMix's Beta parameter; 0 is off.
        teacher: a checkpoint of lit-cnn, or a run folder, whose network is distilled into this one: its probabilities
            are further targets. It sees the same images; classes are matched by name.
        distill_weight: share of the teacher's part in the loss.
        distill_temperature: softens both probabilities, see Hinton et al. 2015, arXiv 1503.02531.
        ema_decay: keep an exponential moving average of the weights with this decay, such as 0.999, and evaluate
            and store that; null is off.
        channels_last: keep images and weights in channels_last memory format, the faster one for convolutions.
        compile: compile the backbone with torch.compile.
        tta: what validate, test and predict average over: none, flip (mirror images too), flip_shift (and shifts by a
            pixel). Validation during training uses the images alone.
        seed: seed of dropout and mixing; comes from seed_everything.
        multilabel: whether images have any number of labels; comes from the data.
    """

    kind, score, from_data = "classification", "acc", ("num_classes", "in_channels", "multilabel")
    measured = ("val/acc", "val/loss", "val/acc_top5", "val/f1", "val/map", "train/acc", "train/loss")

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        backbone: str = "resnet18",
        backbone_args: dict[str, Any] | None = None,
        weights: str | None = None,
        weights_strict: bool = True,
        weights_key: str | None = None,
        freeze: int | str | None = None,
        freeze_epochs: int | None = None,
        freeze_bn: bool = False,
        cache_features: bool | Literal["auto"] = "auto",
        head_init: Literal["model", "zeros"] = "model",
        optimizer: str = "sgd",
        lr: float | Literal["auto"] | None = None,
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
        layer_decay: float | None = None,
        head_lr_scale: float | None = None,
        loss: str = "cross_entropy",
        focal_gamma: float = 2.0,
        class_weights: ClassWeights | None = None,
        label_smoothing: float = 0.0,
        aux_weights: float | list[float] = 0.3,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        teacher: str | None = None,
        distill_weight: float = 0.5,
        distill_temperature: float = 4.0,
        ema_decay: float | None = None,
        channels_last: bool = True,
        compile: bool = False,  # shadows a builtin that is not needed here
        tta: TTAName = "none",
        seed: int = 42,
        multilabel: bool = False,
    ) -> None:
        super().__init__()
        self.mixer = Mixer(mixup_alpha, cutmix_alpha, num_classes)
        check_distillation(distill_weight, distill_temperature)
        self._teacher: Teacher | None = None
        # of an evaluation: gives the logits of a batch in place of the backbone, whose weights then mean nothing
        self.exported: Callable[[Batch], Tensor] | None = None

    def configure_losses(self) -> None:
        """Build the loss, auxiliary heads included."""
        hparams = self.hparams
        check_class_weights(hparams["class_weights"], hparams["num_classes"])
        self.loss = ClassificationLoss(
            hparams["loss"],
            hparams["label_smoothing"],
            hparams["aux_weights"],
            focal_gamma=hparams["focal_gamma"],
            multilabel=hparams["multilabel"],
            weighted_classes=0 if hparams["class_weights"] is None else hparams["num_classes"],
        )

    def configure_metrics(self) -> None:
        """Build top-1 and, with more than five classes, top-5 accuracy, and the confusion matrix of a test."""
        self.train_means.mean("acc")  # before auxiliary losses, which are known from the first batch on
        build = label_scores if self.hparams["multilabel"] else accuracies
        self.val_scores, self.test_scores = (build(self.hparams["num_classes"]) for _ in range(2))
        self.test_matrix = ConfusionMatrix(self.hparams["num_classes"])

    def check_outputs(self, outputs: Any, count: int) -> None:
        """Refuse a backbone that does not end in a classifier for these classes.

        Raises:
            UserError: its logits, or auxiliary ones, are not (N, K).
        """
        name, expected = self.hparams["backbone"], (count, self.hparams["num_classes"])
        logits, aux = split_outputs(outputs, name)
        for head, output in {"": logits, **aux}.items():
            if output.shape == expected:
                continue
            who = f"auxiliary head {head} of {name}" if head else name
            why = "check `model.backbone_args`"
            if not getattr(self.backbone, "include_top", True):
                why = "`model.backbone_args.include_top=false` gives features, not logits: leave it out"
            raise UserError(f"{who} gives {tuple(output.shape)}, but (N, K) = {expected} is expected here; {why}")

    # -- what training needs besides ----------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Load starting weights and the teacher, and compute class weights from the targets of the training split."""
        super().setup(stage)
        weighted, teacher = self.loss.class_weights is not None, self.hparams["teacher"]
        if stage != "fit" or not (weighted or teacher):
            return
        data = datamodule(self.trainer)
        if self.loss.class_weights is not None:
            targets = data.train_dataloader().targets
            weights = resolve_class_weights(self.hparams["class_weights"], data.class_names, targets)
            self.loss.class_weights.copy_(weights)
            if not self.resumes and self.trainer.loggers:  # not in a search for settings
                say(describe_class_weights(weights, data.class_names))
        if teacher:
            self._teacher = Teacher(teacher, data)

    def on_train_start(self) -> None:
        """Move the teacher to the device."""
        super().on_train_start()
        if self._teacher is not None:
            self._teacher.move_to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add balanced class weights as numbers, and the teacher's checksum."""
        super().on_save_checkpoint(checkpoint)
        if self.loss.class_weights is not None and self.hparams["class_weights"] == "balanced":
            checkpoint["class_weights"] = self.loss.class_weights.tolist()
        if self._teacher is not None:
            checkpoint["teacher"] = self._teacher.checksum

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the balanced class weights that the run began with, and refuse to resume with another teacher.

        Raises:
            UserError: its file has changed.
        """
        super().on_load_checkpoint(checkpoint)
        balanced = self.hparams["class_weights"] == "balanced" and "class_weights" in checkpoint
        if self.loss.class_weights is not None and balanced:
            self.loss.class_weights.copy_(torch.tensor(checkpoint["class_weights"]))
        if self._teacher is not None and checkpoint.get("teacher", self._teacher.checksum) != self._teacher.checksum:
            raise UserError(
                f"`model.teacher={self.hparams['teacher']}` is not the file that this run was trained with: resume "
                "with that one, or start a new run"
            )

    # -- steps ------------------------------------------------------------------------------------------------------

    def train_batch(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``, the scalar to minimize, and ``acc``, the accuracy of the batch, for the progress bar."""
        image, target = batch.image, batch.target
        if self.mixer:
            image, target = self.mixer(image, target)
        outputs = self(image)
        loss, parts = self.loss(outputs, target)
        logits, _ = split_outputs(outputs)
        if self._teacher is not None:
            weight, temperature = self.hparams["distill_weight"], self.hparams["distill_temperature"]
            divergence = label_distillation_loss if self.hparams["multilabel"] else distillation_loss
            distilled = divergence(logits, self._teacher.logits(image), temperature)
            loss = (1 - weight) * loss + weight * distilled
            parts = {**parts, "loss_distill": distilled.detach()}
        correct = (count_exact if self.hparams["multilabel"] else count_correct)(logits, target)
        self.train_means.add(len(target), {"loss": loss.detach(), **parts}, {"acc": correct})
        return {"loss": loss, "acc": correct / len(target)}

    def evaluate_batch(self, batch: Batch, split: str) -> Tensor:
        """Update loss and accuracies of ``split`` (val or test); returns logits float32 (N, K)."""
        logits = self.predict_batch(batch)
        loss, scores = (self.val_loss, self.val_scores) if split == "val" else (self.test_loss, self.test_scores)
        loss.update(self.loss.per_sample(logits, batch.target))
        if self.hparams["multilabel"]:
            scores.update(logits.float().sigmoid(), batch.target.long())
            return logits
        scores.update(logits, batch.target)
        if split == "test":
            self.test_matrix.update(logits, batch.target)
        return logits

    def predict_batch(self, batch: Batch) -> Tensor:
        """Logits float32 (N, K), with test-time augmentation outside of training."""
        if self.exported is not None:
            return self.exported(batch)
        how: TTAName = "none" if self.trainer.state.fn == "fit" else self.hparams.get("tta", "none")
        return average_logits(self, batch.image, how)

    def outputs(self, batch: Batch, predictions: Tensor) -> EvaluationOutput:
        """Index and target, and probs float32 (N, K) from logits float32 (N, K): of each class, or of each label."""
        probs = predictions.sigmoid() if self.hparams["multilabel"] else predictions.softmax(1)
        return {"index": batch.index, "target": batch.target, "probs": probs}

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test; keep the confusion matrix for the report."""
        super().on_test_epoch_end()
        if self.hparams["multilabel"]:
            return
        self.test_confusion = self.test_matrix.compute()
        self.test_matrix.reset()
