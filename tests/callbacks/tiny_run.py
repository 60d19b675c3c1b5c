"""A model, data and trainer small enough to run a complete fit in a moment. As a script: a two-process test run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lit_cnn.callbacks import EvaluationReport


class Batch(NamedTuple):
    image: Tensor
    target: Tensor
    index: Tensor


class TinyLoader:
    """Yields this process's share of ``count`` samples, the same in each epoch."""

    def __init__(self, count: int, batch_size: int, rank: int, world_size: int) -> None:
        self.batches = torch.arange(count)[rank::world_size].split(batch_size)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for index in self.batches:
            target = index % 3
            image = nn.functional.one_hot(target, 4).float() + 0.1 * torch.sin(index.float())[:, None]
            yield Batch(image, target, index)


class TinyData(LightningDataModule):
    def __init__(self, class_names: tuple[str, ...] = ("daisy", "玫瑰 rose", "[red]tulip")) -> None:
        super().__init__()
        self.class_names = list(class_names)

    def _loader(self, count: int, batch_size: int) -> TinyLoader:
        trainer = self.trainer
        return TinyLoader(count, batch_size, trainer.global_rank, trainer.world_size)

    def train_dataloader(self) -> Any:
        return self._loader(16, 4)

    def val_dataloader(self) -> Any:
        return self._loader(10, 4)

    def test_dataloader(self) -> Any:
        return self._loader(11, 2)

    predict_dataloader = test_dataloader

    def sample_name(self, split: str, index: int) -> str:
        return f"{split}/ä [{index}].png"

    def skipped(self, split: str | None = None) -> dict[str, str]:
        return {}


class TinyModel(LightningModule):
    """Logs like a classifier: loss, accuracy and learning rate, per epoch."""

    test_confusion: Tensor | None = None

    def __init__(self, backbone: str = "tiny") -> None:
        super().__init__()
        self.title = backbone
        self.save_hyperparameters()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def _loss_and_acc(self, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = self(batch.image)
        return nn.functional.cross_entropy(logits, batch.target), (logits.argmax(1) == batch.target).float().mean()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        loss, acc = self._loss_and_acc(batch)
        self.last = loss.detach(), acc
        self.log("lr", self.optimizers().param_groups[0]["lr"])
        return {"loss": loss, "acc": acc}

    def on_train_epoch_end(self) -> None:
        if hasattr(self, "last"):  # else resumed after the last batch
            self.log_dict({"train/loss": self.last[0], "train/acc": self.last[1]})

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        loss, acc = self._loss_and_acc(batch)
        self.log_dict({"val/loss": loss, "val/acc": acc}, batch_size=len(batch.index))
        return self.predict_step(batch, batch_idx)

    def on_test_epoch_start(self) -> None:
        self.counts = torch.zeros(3, 3, dtype=torch.long)
        self.test_loss = MeanMetric()

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        self.test_loss.update(self._loss_and_acc(batch)[0], weight=len(batch.index))
        self.counts.index_put_((batch.target, self(batch.image).argmax(1)), torch.tensor(1), accumulate=True)
        return self.predict_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self.test_confusion = self.trainer.strategy.reduce(self.counts, reduce_op="sum")
        acc = self.test_confusion.trace() / self.test_confusion.sum()
        self.log_dict({"test/loss": self.test_loss.compute(), "test/acc": acc})

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"index": batch.index, "target": batch.target, "probs": self(batch.image).softmax(1)}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=12)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def tiny_trainer(*callbacks: Callback, **kwargs: Any) -> Trainer:
    """A CPU trainer for three epochs that writes nothing by itself."""
    settings: dict[str, Any] = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
    }
    if callbacks and any(type(callback).__name__ == "ProgressBar" for callback in callbacks):
        settings.pop("enable_progress_bar")
    return Trainer(callbacks=list(callbacks), **{**settings, **kwargs})


if __name__ == "__main__":
    trainer = tiny_trainer(EvaluationReport(sys.argv[1]), devices=2, strategy="ddp_fork")
    trainer.test(TinyModel(), datamodule=TinyData(), verbose=False)
