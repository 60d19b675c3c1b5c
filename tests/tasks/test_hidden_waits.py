"""A training step on a GPU reads nothing back and makes no blocking copy, so that the host can queue the next one."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore

from lit_cnn.callbacks.last_checkpoint import LastCheckpoint
from lit_cnn.callbacks.nan_guard import NanGuard
from lit_cnn.callbacks.progress_bar import ProgressBar
from lit_cnn.checkpoint.interval import SaveInterval
from lit_cnn.data import Digits
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.utils.lightning_internals import handle_sigterm_by
from tests.conftest import mostly_slow
from tests.fake_cuda import CUDA, fake_cuda

WARM_UP, COUNTED = 2, 1  # batches


class EnoughError(Exception):
    """Ends the run in mid-epoch."""


class Count(Callback):
    """Count the waits of some batches: their transfer, augmentation, step, and what the callbacks do after it."""

    def __init__(self, counter: Any) -> None:
        self.counter = counter

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM_UP - 1:
            self.counter.reads.clear()
            self.counter.copies.clear()
        if batch_idx == WARM_UP + COUNTED - 1:
            raise EnoughError


class OnFakeCuda(SingleDeviceStrategy):
    """Trains on the fake device; Lightning's accelerator of the CPU would refuse to."""

    def setup_environment(self) -> None:
        pass

    def teardown(self) -> None:
        pass


class OnFakeRanks(DDPStrategy):
    """Rank 0 of two, on the fake device, whose collectives return at once what they were given."""

    root_device = CUDA

    def _configure_launcher(self) -> None:
        pass

    def setup_environment(self) -> None:
        torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)

    def configure_ddp(self) -> None:
        ddp = "torch.nn.parallel.distributed"
        with mock.patch(f"{ddp}._verify_param_shape_across_processes"), mock.patch(f"{ddp}._sync_module_states"):
            self.model = DistributedDataParallel(self.model, device_ids=[0])
        self.model.reducer = self.model.logger = mock.Mock()  # they time kernels by the driver

    def barrier(self, name: Any = None) -> None:
        pass

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return obj

    def teardown(self) -> None:
        torch.distributed.destroy_process_group()


def backward(self: ImageClassifier, loss: Any) -> None:
    """The autograd engine needs a real device: gradients of any value."""
    for parameter in self.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)


def waits(
    folder: Any, strategy: Any = None, precision: Any = None, data: Any = None, **settings: Any
) -> tuple[list[str], list[str]]:
    """Reads and copies of a few steps."""
    torch.manual_seed(0)
    data = Digits(batch_size=8, image_size=8, **(data or {}))
    settings = {"backbone": "convnet_pooled", "backbone_args": {"widths": [8], "dilations": [1]}, **settings}
    task = ImageClassifier(10, 1, **settings)
    with fake_cuda() as counter:
        trainer = Trainer(
            accelerator="cpu",
            strategy=strategy() if strategy else OnFakeCuda(CUDA),
            plugins=[precision()] if precision else None,
            devices=2 if strategy else 1,
            max_epochs=1,
            logger=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[
                ProgressBar(), NanGuard(), LastCheckpoint(folder, SaveInterval.parse("1 epoch")), Count(counter)
            ],
        )  # fmt: skip
        handle_sigterm_by(trainer, lambda *given: None)  # as the watchdog of every run does
        with pytest.raises(EnoughError):
            trainer.fit(task, datamodule=data)
    return counter.reads, counter.copies


def half() -> MixedPrecision:
    return MixedPrecision("16-mixed", "cuda", torch.amp.GradScaler("cuda"))


def two_ranks() -> OnFakeRanks:
    return OnFakeRanks(cluster_environment=LightningEnvironment())


CROPS = Augment(crop_scale=(0.3, 1.0), flip=0.5, alternate_flip=True, erase=0.5, cutout=2)
MOVES = Augment(crop_padding=2, padding_mode="reflect", rotation=10.0, translate=0.1, zoom=0.1, brightness=0.2)
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "crops": {"data": {"augment": CROPS}},
    "moves": {"data": {"augment": MOVES}},
    "adamw": {"optimizer": "adamw"},
    "ema": {"ema_decay": 0.9},
    "mixup": {"mixup_alpha": 0.4},
    "cutmix": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0},
    "fp16": {"precision": half},
    "muon": {"optimizer": "muon"},
    "rates by depth": {"layer_decay": 0.5, "head_lr_scale": 2.0, "freeze": 1, "freeze_epochs": 1},
    "ddp": {"strategy": two_ranks},
    "ddp with ema": {"strategy": two_ranks, "ema_decay": 0.9},
    "smoothed": {"label_smoothing": 0.1, "loss": "mse_softmax"},
}


@pytest.fixture
def stand_ins(monkeypatch):
    """For what needs a driver."""
    monkeypatch.setattr(ImageClassifier, "backward", backward)
    monkeypatch.setattr("torch.distributed.new_group", lambda backend: None)  # for flags of the CPU
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)


@pytest.mark.parametrize("case", mostly_slow(CASES, "plain", "ema", "cutmix", "fp16", "muon", "ddp"))
def test_a_training_step_waits_for_nothing(case, tmp_path, stand_ins):
    assert waits(tmp_path, **CASES[case]) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"optimizer": "muon"}, {"optimizer_args": {"fused": False}}])
def test_a_gradient_scaler_waits_once_for_an_optimizer_that_is_not_fused(settings, tmp_path, stand_ins):
    reads, copies = waits(tmp_path, precision=half, **settings)
    assert (len(reads), copies) == (COUNTED, [])  # as docs/speed.md says
