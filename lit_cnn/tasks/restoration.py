"""ImageRestorer: the LightningModule that trains a network to give a clear image for a hazy one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.functional.image import structural_similarity_index_measure

from lit_cnn.errors import UserError
from lit_cnn.models import get_model
from lit_cnn.optim.lr_schedule import ScheduleName
from lit_cnn.tasks.base import BaseTask
from lit_cnn.tasks.metrics import ExactMean
from lit_cnn.tasks.outputs import RestorationOutput, RestorationScores
from lit_cnn.tasks.tiles import restore
from lit_cnn.utils.datamodule import Batch

MOST_PSNR = 100.0  # dB: of equal images it would be infinite
SSIM_SIDE = 11  # pixels of its window
LOSSES = ("l1", "mse", "l1_ssim")


class ImageRestorer(BaseTask):
    """Image restorer around a network of the model package that gives an image for an image.

    Batches are named tuples with ``image`` and ``target`` float (N, C, H, W) in [0, 1], and ``index`` int64 (N,).

    Args:
        in_channels: image channels C; comes from the data.
        backbone: srcnn, aodnet, unet, or a network of your own registered with task="restoration".
        backbone_args: further arguments of the backbone, such as {upsampling: bilinear}.
        weights: start from the weights in this file. Names and shapes must fit.
        weights_strict: refuse a file that fits the backbone only in part.
        weights_key: take the weights under this key of the file; null: those that fit best.
        optimizer: adamw, sgd (momentum 0.9, Nesterov), muon, or any class of torch.optim by name.
        lr: peak learning rate; null: the optimizer's own, 0.001 for adamw; "auto": found by a learning-rate range test,
            for new training runs.
        lr_base_size: lr is meant for this many images per optimizer step, over all ranks and accumulated batches, and
            is scaled in proportion to their actual number; null: no scaling.
        weight_decay: weight decay.
        optimizer_args: further arguments of the optimizer, such as {betas: [0.9, 0.99]}.
        decay_norm_and_bias: apply weight decay to biases and normalization weights too.
        lr_scheduler: shape of the learning rate over the run, which changes at every optimizer step.
        lr_warmup_epochs: linear warm-up, in epochs (fractions allowed).
        lr_step_size: for step: epochs between two drops.
        lr_gamma: for step: factor of each drop.
        lr_min: for cosine and linear: lowest learning rate.
        lr_stop: parameters that stop training early: a part of their names, and the epoch at which their learning
            rate has fallen linearly to 0.
        loss: l1 (mean absolute error), mse (mean squared error), or l1_ssim (a mix of l1 and 1 - SSIM).
        ssim_weight: for l1_ssim: share of 1 - SSIM (Zhao et al. 2017, arXiv 1511.08861, section III.E, who take 0.84
            with SSIM at several scales).
        ema_decay: keep an exponential moving average of the weights with this decay, such as 0.999, and evaluate
            and store that; null is off.
        channels_last: keep images and weights in channels_last memory format, the faster one for convolutions.
        compile: compile the backbone with torch.compile.
        tile: evaluate and predict in tiles of this side in pixels, with the result of the whole image; null: whole
            images, and tiles where memory does not suffice.
        seed: seed of dropout and the like; comes from seed_everything.
    """

    kind, score, from_data = "restoration", "psnr", ("in_channels",)
    measured = (
        "val/psnr", "val/ssim", "val/loss", "val/psnr_input", "val/ssim_input", "train/psnr", "train/loss",
    )  # fmt: skip

    def __init__(
        self,
        in_channels: int = 3,
        backbone: str = "unet",
        backbone_args: dict[str, Any] | None = None,
        weights: str | None = None,
        weights_strict: bool = True,
        weights_key: str | None = None,
        optimizer: str = "adamw",
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
        loss: str = "l1",
        ssim_weight: float = 0.84,
        ema_decay: float | None = None,
        channels_last: bool = True,
        compile: bool = False,  # shadows a builtin that is not needed here
        tile: int | None = None,
        seed: int = 42,
    ) -> None:
        super().__init__()
        if tile is not None and tile < 1:
            raise UserError(f"`model.tile` is {tile}: it must be at least 1 pixel, 512 is usual, null is off")
        # of an evaluation: gives images for images in place of the backbone, whose weights then mean nothing
        self.exported: Callable[[Tensor], Tensor] | None = None

    @staticmethod
    def network(settings: Mapping[str, Any]) -> nn.Module:
        """The network of that name, for images of as many channels as it gives."""
        channels = settings["in_channels"]
        return get_model(
            settings["backbone"], num_classes=channels, in_channels=channels, **(settings["backbone_args"] or {})
        )

    def configure_losses(self) -> None:
        """Check the loss.

        Raises:
            UserError: it is unknown.
        """
        if self.hparams["loss"] not in LOSSES:
            raise UserError(
                f"`model.loss` is {self.hparams['loss']!r}: choose {', '.join(LOSSES[:-1])} or {LOSSES[-1]}"
            )
        if not 0 <= self.hparams["ssim_weight"] <= 1:
            raise UserError(f"`model.ssim_weight` is {self.hparams['ssim_weight']}: it must lie between 0 and 1")

    def configure_metrics(self) -> None:
        """Build PSNR and SSIM, means over images, and those of the input beside them."""
        self.train_means.mean("psnr")
        names = ("psnr", "ssim", "psnr_input", "ssim_input")
        self.val_scores, self.test_scores = (
            MetricCollection({name: ExactMean() for name in names}, compute_groups=False) for _ in range(2)
        )
        self._scores: dict[str, Tensor] = {}  # of the batch that was evaluated last

    def check_outputs(self, outputs: Any, count: int) -> None:
        """Refuse a network that does not give one image for each image.

        Raises:
            UserError: its output has another shape.
        """
        name, channels = self.hparams["backbone"], self.hparams["in_channels"]
        if not isinstance(outputs, Tensor) or outputs.ndim != 4 or outputs.shape[:2] != (count, channels):
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise UserError(
                f"{name} gives {shape}, but images (N, C, H, W) with N, C = {count}, {channels} are expected here: "
                "choose a `model.backbone` that gives images, such as unet"
            )

    # -- steps ------------------------------------------------------------------------------------------------------

    def train_batch(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``, the scalar to minimize, and ``psnr``, the mean over the batch, for the progress bar."""
        restored = self(batch.image)
        loss = self._loss(restored, batch.target).mean()
        quality = psnr(restored.detach().float().clamp(0, 1), batch.target.float())
        self.train_means.add(len(quality), {"loss": loss.detach()}, {"psnr": quality.sum()})
        return {"loss": loss, "psnr": quality.mean()}

    def evaluate_batch(self, batch: Batch, split: str) -> Tensor:
        """Update loss and scores of ``split`` (val or test); returns images float32 (N, C, H, W) in [0, 1]."""
        if not batch.target.is_floating_point():
            raise UserError("there are no clear images to compare with: use predict, or `data=DehazePairs`")
        restored, target = self.predict_batch(batch), batch.target.float()
        loss, scores = (self.val_loss, self.val_scores) if split == "val" else (self.test_loss, self.test_scores)
        loss.update(self._loss(restored, target))
        given = batch.image.float().clamp(0, 1)
        self._scores = {
            "psnr": psnr(restored, target),
            "ssim": ssim(restored, target),
            "psnr_input": psnr(given, target),
            "ssim_input": ssim(given, target),
        }
        for name, values in self._scores.items():
            scores[name].update(values)
        return restored

    def predict_batch(self, batch: Batch) -> Tensor:
        """Images float32 (N, C, H, W) in [0, 1]."""
        self._scores = {}
        network = self if self.exported is None else self.exported
        return restore(network, batch.image, self.hparams.get("tile"), self.backbone).float().clamp(0, 1)

    def outputs(self, batch: Batch, predictions: Tensor) -> RestorationOutput:
        """Index, what was given and what was made of it, and with a target that and the scores of each image."""
        found: RestorationOutput = {"index": batch.index, "image": batch.image, "restored": predictions}
        if not self._scores:
            return found
        scores = cast(RestorationScores, {"target": batch.target, **self._scores})
        return {**found, **scores}

    def _loss(self, restored: Tensor, target: Tensor) -> Tensor:
        """Loss of each image, float (N,)."""
        if self.hparams["loss"] == "mse":
            return F.mse_loss(restored, target, reduction="none").mean((1, 2, 3))
        absolute = F.l1_loss(restored, target, reduction="none").mean((1, 2, 3))
        if self.hparams["loss"] == "l1":
            return absolute
        share = self.hparams["ssim_weight"]
        return (1 - share) * absolute + share * (1 - ssim(restored, target))


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, float (N,), at most 100, of values in [0, 1], (N, C, H, W)."""
    error = (image - target).square().mean((1, 2, 3))
    return (-10 * torch.log10(error)).clamp(max=MOST_PSNR)


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image, float32 (N,), of values in [0, 1], (N, C, H, W).

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", section III.B:
    Gaussian windows of 11 pixels, sigma 1.5.

    Raises:
        UserError: images are smaller than the window.
    """
    height, width = image.shape[-2:]
    if min(height, width) < SSIM_SIDE:
        raise UserError(f"a photo of {width}x{height} pixels is too small for SSIM, which needs {SSIM_SIDE}: remove it")
    with torch.autocast(image.device.type, enabled=False):
        found = structural_similarity_index_measure(
            image.float(), target.float(), data_range=1.0, reduction="none", kernel_size=SSIM_SIDE
        )
    assert isinstance(found, Tensor)
    return found.reshape(len(image))
