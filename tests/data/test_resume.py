"""A run resumed in the middle of an epoch sees the same samples and the same bits as one that never stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_cnn.data import Augment, Digits, ImageDataModule, ImageFolder
from lit_cnn.errors import UserError

from .helpers import Recorder, make_trainer

EPOCHS = 3


def _digits() -> ImageDataModule:
    return Digits(batch_size=300, image_size=8, augment=Augment(crop_padding=1, flip=0.5, brightness=0.2))


def _fit(
    data: ImageDataModule, features: int, checkpoint: Path | None = None, folder: Path | None = None, every: int = 2
) -> Recorder:
    model = Recorder(features, data.num_classes)
    callbacks = []
    if folder is not None:
        callbacks = [ModelCheckpoint(folder, filename="{step}", save_top_k=-1, every_n_train_steps=every)]
    trainer = make_trainer(max_epochs=EPOCHS, callbacks=callbacks, enable_checkpointing=bool(callbacks))
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return model


def _assert_same_run(whole: Recorder, rest: Recorder) -> None:
    assert 0 < len(rest.seen) <= len(whole.seen)
    assert rest.seen == whole.seen[-len(rest.seen) :]
    assert torch.equal(rest.net.weight, whole.net.weight)
    assert torch.equal(rest.net.bias, whole.net.bias)


def test_resume_from_any_step_of_any_epoch_repeats_the_uninterrupted_run_bit_for_bit(tmp_path: Path) -> None:
    whole = _fit(_digits(), 64, folder=tmp_path, every=1)
    checkpoints = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
    steps = len(whole.seen) // EPOCHS
    assert steps == 5
    assert [int(path.stem.split("=")[1]) for path in checkpoints] == list(range(1, EPOCHS * steps + 1))
    for step, checkpoint in enumerate(checkpoints[:-1], start=1):
        rest = _fit(_digits(), 64, checkpoint)
        assert len(rest.seen) == len(whole.seen) - step
        _assert_same_run(whole, rest)


def test_orders_of_the_epochs_differ_so_that_the_resume_test_means_something() -> None:
    whole = _fit(_digits(), 64)
    orders = [tuple(i for epoch, _, index, _ in whole.seen if epoch == e for i in index) for e in range(EPOCHS)]
    assert len(set(orders)) == EPOCHS
    assert len({frozenset(order) for order in orders}) == 1
    images = {tuple(digests) for _, _, _, digests in whole.seen}
    assert len(images) == len(whole.seen)


def test_resume_twice_with_another_number_of_workers_repeats_the_uninterrupted_run(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_folder({"cat": 9, "dog": 10, "emu": 11})

    def data(workers: int) -> ImageDataModule:
        return ImageFolder(data_dir=str(root), batch_size=3, image_size=12, workers=workers, normalize="computed")

    whole = _fit(data(2), 3 * 12 * 12)
    steps = len(whole.seen) // EPOCHS
    assert steps == 7
    first = _fit(data(0), 3 * 12 * 12, folder=tmp_path / "a", every=steps + 2)  # epoch 1, two batches done
    _assert_same_run(whole, first)
    second = _fit(data(3), 3 * 12 * 12, tmp_path / "a" / f"step={steps + 2}.ckpt", tmp_path / "b", every=steps + 5)
    _assert_same_run(whole, second)
    third = _fit(data(1), 3 * 12 * 12, tmp_path / "b" / f"step={steps + 5}.ckpt")
    assert len(third.seen) == 2 * steps - 5
    _assert_same_run(whole, third)


def test_resume_on_other_data_batch_size_or_seed_is_refused_with_the_differences(tmp_path: Path) -> None:
    _fit(_digits(), 64, folder=tmp_path, every=7)
    checkpoint = tmp_path / "step=7.ckpt"
    with pytest.raises(UserError, match=r"batch size 300 -> 200") as caught:
        _fit(Digits(batch_size=200, image_size=8), 64, checkpoint)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"seed 42 -> 7"):
        _fit(Digits(batch_size=300, image_size=8, seed=7), 64, checkpoint)
    with pytest.raises(UserError, match=r"samples 1259 -> "):
        _fit(Digits(batch_size=300, image_size=8, val_fraction=0.3), 64, checkpoint)
    with pytest.raises(UserError, match=r"split [0-9a-f]{16} -> [0-9a-f]{16}"):
        _fit(Digits(batch_size=300, image_size=8, split_seed=1), 64, checkpoint)
