"""Layers that are frozen for the first epochs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from lit_cnn.cli.main import main
from lit_cnn.data import Digits
from lit_cnn.errors import UserError
from lit_cnn.tasks.classification import ImageClassifier
from tests.callbacks.tiny_run import tiny_trainer
from tests.cli.helpers import run_command
from tests.conftest import EVERY_STEP, LENET, load, state_differences

SMALL = {"backbone": "resnet20", "optimizer": "sgd", "lr": 0.05}


class Watch(Callback):
    """Notes the first layer's weights, statistics and mode at the start of every epoch, and at the end."""

    def __init__(self) -> None:
        self.seen: list[tuple[torch.Tensor, torch.Tensor, bool]] = []

    def _note(self, task: Any) -> None:
        norm = task.backbone.bn1
        self.seen.append((task.backbone.conv1.weight.detach().clone(), norm.running_mean.clone(), norm.training))

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._note(pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._note(pl_module)


def watched(**settings: Any) -> tuple[Watch, ImageClassifier]:
    torch.manual_seed(0)
    watch, task = Watch(), ImageClassifier(10, 1, **{**SMALL, **settings})
    tiny_trainer(watch, max_epochs=3, limit_train_batches=2, limit_val_batches=1).fit(
        task, datamodule=Digits(batch_size=8, image_size=16)
    )
    return watch, task


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weights_statistics_and_mode_are_frozen_until_the_epoch_and_not_after(optimizer: str) -> None:
    watch, _ = watched(freeze="backbone", freeze_epochs=2, optimizer=optimizer, lr=0.01)
    first, second, third, end = watch.seen
    assert torch.equal(first[0], third[0])
    assert torch.equal(first[1], third[1])
    assert [training for *_, training in watch.seen[:3]] == [False, False, True]
    assert not torch.equal(third[0], end[0])
    assert not torch.equal(third[1], end[1])
    assert second[2] is False


def test_until_then_the_head_trains_as_if_frozen_for_good() -> None:
    heads = []
    for epochs in (None, 3):
        _, task = watched(freeze="backbone", freeze_epochs=epochs)
        heads.append(task.backbone.fc.weight)
    assert torch.equal(heads[0], heads[1])


def test_the_optimizer_has_no_state_for_what_is_frozen_still() -> None:
    _, task = watched(freeze="backbone", freeze_epochs=3)
    optimizer = task.optimizers(use_pl_optimizer=False)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert set(optimizer.state) == set(task.backbone.fc.parameters())


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"freeze_epochs": 1}, "needs to know what to freeze"),
        ({"freeze": "backbone", "freeze_epochs": 0}, "must be at least 1"),
        ({"layer_decay": 0.0}, "`model.layer_decay` must be above 0"),
        ({"layer_decay": 1.5}, "`model.layer_decay` must be above 0"),
        ({"head_lr_scale": 0.0}, "`model.head_lr_scale` must be positive"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        ImageClassifier(10, 1, **SMALL, **settings)


def test_a_run_resumed_before_and_after_the_change_ends_with_the_same_bits(workdir: Path) -> None:
    words = [
        *LENET, "--epochs=2", "--freeze=backbone", "--model.freeze_epochs=1", "--model.layer_decay=0.5",
        "--model.head_lr_scale=2", "--model.optimizer=adamw", "--lr=0.01", *EVERY_STEP,
    ]  # fmt: skip
    main(["fit", *words])
    run = workdir / "lightning_logs" / "version_0"
    final = workdir / "final.ckpt"
    shutil.copy(run / "checkpoints" / "step20.ckpt", final)
    first = [load(run / "checkpoints" / f"step{k}.ckpt")["state_dict"]["backbone.features.0.bias"] for k in (1, 10, 20)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])
    for step in (7, 9, 11, 13):
        main(["fit", "--ckpt_path", str(run / "checkpoints" / f"step{step}.ckpt")])
        assert state_differences(final, run / "checkpoints" / "step20.ckpt") == []


@pytest.mark.parametrize("freeze_epochs", [None, 1])
def test_batch_normalization_keeps_its_statistics_on_request_and_trains_its_scale(freeze_epochs: int | None) -> None:
    freezing = {"freeze": 1, "freeze_epochs": 1} if freeze_epochs else {}
    watch, task = watched(freeze_bn=True, **freezing)
    weights, means, modes = zip(*watch.seen, strict=True)
    assert all(torch.equal(mean, means[0]) for mean in means)
    assert not any(modes)
    assert not torch.equal(weights[0], weights[-1])
    assert task.backbone.bn1.weight.requires_grad
    assert not torch.equal(task.backbone.bn1.weight, torch.ones_like(task.backbone.bn1.weight))


@pytest.mark.slow
def test_two_ranks_freeze_and_unfreeze_as_one_does(workdir: Path) -> None:
    # whole batches alone: DDP takes the mean of the means of a last batch of 53 and 52 images
    words = [*LENET, "--epochs=2", "--trainer.limit_train_batches=9", "--trainer.accelerator=cpu"]
    words += ["--freeze=backbone", "--model.freeze_epochs=1"]
    weights = []
    for ranks in (1, 2):
        own = [f"--trainer.devices={ranks}", f"--data.batch_size={128 // ranks}", f"--trainer.default_root_dir={ranks}"]
        run_command(workdir, "fit", *words, *own, *(["--trainer.strategy=ddp"] if ranks == 2 else []))
        state = load(workdir / str(ranks) / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")
        weights.append(state["state_dict"])
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4, msg=name)
