"""ImageClassifier: the LightningModule that trains any backbone to classify images."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.optim.lr_schedule import ScheduleName
from lit_cnn.tasks.base import BaseTask, EvaluationOutput
from lit_cnn.tasks.losses import ClassificationLoss, split_outputs
from lit_cnn.tasks.metrics import ConfusionMatrix, accuracies, count_correct
from lit_cnn.tasks.mixup import Mixer
from lit_cnn.tasks.tta import TTAName, average_logits
from lit_cnn.utils.datamodule import Batch


class ImageClassifier(BaseTask):
    """Image classifier around a backbone of the model package.

    Batches are named tuples with ``image`` float (N, C, H, W), ``target`` int64 (N,) and ``index`` int64 (N,).

    Args:
        num_classes: number of classes K; comes from the data.
        in_channels: image channels C; comes from the data.
        backbone: model name, such as resnet18, googlenet, torchvision/NAME or timm/NAME.
        backbone_args: further arguments of the backbone, such as {stem: cifar}.
        weights: start from these weights: a file, or "imagenet" for torchvision's published ones (a download).
            Names and shapes must fit; those of resnet50 and resnet50_v1 are the same.
        weights_strict: refuse a file that fits the backbone only in part.
        weights_key: take the weights under this key of the file, such as state_dict_ema; null: those that fit best, and
            of copies that fit alike the averaged ones.
        freeze: "backbone" trains the head alone; a number freezes that many blocks from the front, such as 3 for
            conv1, bn1 and layer1 of a resnet (99 lists them). The head is not a block. Frozen batch
            normalization keeps its statistics.
        cache_features: with a frozen backbone, compute what it gives for each image once and train the head on that,
            which is the same computation, many times faster: true, false, or "auto", where training images are not
            augmented. The features (D floats an image) are in memory, or beyond 1 GB on disk in $LIT_CNN_CACHE.
        head_init: first values of a head that the weights do not bring: "model", the network's own, or "zeros", so that
            features count for nothing before the head has learned them (Kolesnikov et al. 2020, arXiv 1912.11370,
            section 3.3). Random values stay in the head where there are more features than images.
        optimizer: sgd (momentum 0.9, Nesterov), adamw, muon (for filters; SGD for all else), or any class of
            torch.optim by name.
        lr: peak learning rate; "auto": found by a learning-rate range test, for new training runs.
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
        lr_min: for cosine and linear: lowest learning rate.
        lr_stop: parameters that stop training early: a part of their names, and the epoch at which their learning
            rate has fallen linearly to 0, such as {whiten.bias: 3}.
        loss: cross_entropy, mse_softmax (mean squared error on softmax outputs), or one that your own package
            registers.
        label_smoothing: share of the target spread over all classes in training.
        aux_weights: weight of every auxiliary head's loss, or a list with one for each head.
        mixup_alpha: mixup's Beta parameter; 0 is off.
        cutmix_alpha: CutMix's Beta parameter; 0 is off.
        ema_decay: keep an exponential moving average of the weights with this decay, such as 0.999, and evaluate
            and store that; null is off.
        channels_last: keep images and weights in channels_last memory format, the faster one for convolutions.
        compile: compile the backbone with torch.compile.
        tta: what validate, test and predict average over: none, flip (mirror images too), flip_shift (and shifts by a
            pixel). Validation during training uses the images alone.
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
        weights_key: str | None = None,
        freeze: int | str | None = None,
        cache_features: bool | Literal["auto"] = "auto",
        head_init: Literal["model", "zeros"] = "model",
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
        loss: str = "cross_entropy",
        label_smoothing: float = 0.0,
        aux_weights: float | list[float] = 0.3,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        ema_decay: float | None = None,
        channels_last: bool = True,
        compile: bool = False,  # shadows a builtin that is not needed here
        tta: TTAName = "none",
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.mixer = Mixer(mixup_alpha, cutmix_alpha, num_classes)

    def configure_losses(self) -> None:
        """Build the loss, auxiliary heads included."""
        hparams = self.hparams
        self.loss = ClassificationLoss(hparams["loss"], hparams["label_smoothing"], hparams["aux_weights"])

    def configure_metrics(self) -> None:
        """Build top-1 and, with more than five classes, top-5 accuracy, and the confusion matrix of a test."""
        self.train_means.mean("acc")  # before auxiliary losses, which are known from the first batch on
        scores = accuracies(self.hparams["num_classes"])
        self.val_scores, self.test_scores = scores.clone(), scores.clone()
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

    # -- steps ------------------------------------------------------------------------------------------------------

    def train_batch(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``, the scalar to minimize, and ``acc``, the accuracy of the batch, for the progress bar."""
        image, target = batch.image, batch.target
        if self.mixer:
            image, target = self.mixer(image, target)
        outputs = self(image)
        loss, parts = self.loss(outputs, target)
        logits, _ = split_outputs(outputs)
        correct = count_correct(logits, target)
        self.train_means.add(len(target), {"loss": loss.detach(), **parts}, {"acc": correct})
        return {"loss": loss, "acc": correct / len(target)}

    def evaluate_batch(self, batch: Batch, split: str) -> Tensor:
        """Update loss and accuracies of ``split`` (val or test); returns logits float32 (N, K)."""
        logits = self.predict_batch(batch)
        loss, scores = (self.val_loss, self.val_scores) if split == "val" else (self.test_loss, self.test_scores)
        loss.update(self.loss.per_sample(logits, batch.target))
        scores.update(logits, batch.target)
        if split == "test":
            self.test_matrix.update(logits, batch.target)
        return logits

    def predict_batch(self, batch: Batch) -> Tensor:
        """Logits float32 (N, K), with test-time augmentation outside of training."""
        how: TTAName = "none" if self.trainer.state.fn == "fit" else self.hparams.get("tta", "none")
        return average_logits(self, batch.image, how)

    def outputs(self, batch: Batch, predictions: Tensor) -> EvaluationOutput:
        """Index and target int64 (N,), and probs float32 (N, K) from logits float32 (N, K)."""
        return {"index": batch.index, "target": batch.target, "probs": predictions.softmax(1)}

    def on_test_epoch_end(self) -> None:
        """Log test/loss, test/acc, test/acc_top5; keep the confusion matrix for the report."""
        super().on_test_epoch_end()
        self.test_confusion = self.test_matrix.compute()
        self.test_matrix.reset()
