"""What tasks share: a second task defines its loss and metrics and nothing else."""

from __future__ import annotations

import inspect

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio

from lit_cnn.data import Digits
from lit_cnn.tasks.base import BaseTask, Task, as_task
from lit_cnn.tasks.classification import ImageClassifier
from tests.callbacks.tiny_run import tiny_trainer


class Autoencoder(BaseTask):
    """Restores images from a small bottleneck."""

    def __init__(
        self,
        in_channels=1, backbone="autoencoder", weights=None, weights_strict=True, freeze=None, optimizer="adamw",
        lr=0.01, lr_base_size=64, weight_decay=0.0, optimizer_args=None, decay_norm_and_bias=True,
        lr_scheduler="cosine", lr_warmup_epochs=0.0, lr_step_size=30, lr_gamma=0.1, lr_min=0.0, lr_stop=None,
        ema_decay=0.5, channels_last=True, compile=False, seed=42,
    ):  # fmt: skip
        super().__init__()

    def configure_models(self):
        down, up = torch.nn.Conv2d(1, 8, 2, stride=2), torch.nn.ConvTranspose2d(8, 1, 2, stride=2)
        self.backbone = torch.nn.Sequential(down, up)

    def configure_losses(self):
        self.loss = torch.nn.MSELoss(reduction="none")

    def configure_metrics(self):
        self.val_scores = MetricCollection({"psnr": PeakSignalNoiseRatio(data_range=1.0)})
        self.test_scores = self.val_scores.clone()

    def train_batch(self, batch):
        loss = self.loss(self(batch.image), batch.image).mean()
        self.train_means.add(len(batch.image), {"loss": loss.detach()})
        return {"loss": loss}

    def evaluate_batch(self, batch, split):
        restored = self.predict_batch(batch)
        loss, scores = (self.val_loss, self.val_scores) if split == "val" else (self.test_loss, self.test_scores)
        loss.update(self.loss(restored, batch.image).mean((1, 2, 3)))
        scores.update(restored, batch.image)
        return restored

    def predict_batch(self, batch):
        return self(batch.image)

    def outputs(self, batch, predictions):
        return {"index": batch.index, "image": predictions}


def test_another_task_trains_with_everything_that_is_shared():
    task = Autoencoder()
    assert task.hparams["lr_base_size"] == 64
    trainer = tiny_trainer(max_epochs=2)
    trainer.fit(task, datamodule=Digits(batch_size=128))
    metrics = trainer.callback_metrics
    assert {"train/loss", "train/lr", "val/loss", "val/psnr"} <= metrics.keys()
    assert trainer.optimizers[0].param_groups[0]["initial_lr"] == pytest.approx(0.02)  # scaled by lr_base_size
    assert any(type(callback).__name__ == "WeightEMA" for callback in trainer.callbacks)
    (tested,) = trainer.test(task, datamodule=Digits(batch_size=128), verbose=False)
    assert tested["test/loss"] < 1
    assert "test/psnr" in tested


@pytest.mark.parametrize("build", [Autoencoder, lambda: ImageClassifier(10, 1, "lenet", ema_decay=0.9)])
def test_tasks_have_what_callbacks_ask_of_them(build):
    task = as_task(build())
    assert isinstance(task, Task)
    assert task.title in ("autoencoder", "lenet")
    assert task.ema_decay in (0.5, 0.9)
    assert task.test_confusion is None
    assert {id(p) for p in task.parameters()} == {id(p) for p in task.backbone.parameters()}


def test_the_settings_of_the_subclass_are_the_hyper_parameters():
    hparams = ImageClassifier(10, 1, "lenet", lr=0.5).hparams
    assert [*hparams][:3] == ["num_classes", "in_channels", "backbone"]
    assert [*hparams] == [*inspect.signature(ImageClassifier).parameters]
    assert (hparams["lr"], hparams["tta"], hparams["seed"]) == (0.5, "none", 42)
