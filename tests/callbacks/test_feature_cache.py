"""Training the head of a frozen backbone on features that are computed once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lit_cnn.callbacks.feature_cache import FeatureCache
from lit_cnn.cli.main import main
from lit_cnn.data import ImageDataModule, feature_source
from lit_cnn.data.array_source import ArraySource
from lit_cnn.data.split import Split
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.errors import UserError
from lit_cnn.tasks.classification import ImageClassifier
from tests.callbacks.tiny_run import tiny_trainer
from tests.cli.helpers import QUIET, rows
from tests.cli.test_resume import AS_BEFORE
from tests.conftest import EVERY_STEP, TINY, state_differences

NETWORKS = ["resnet20", "timm/resnet10t", "torchvision/mobilenet_v3_small"]


class Counting(ArraySource):
    """Images in memory that counts how many were read."""

    read = 0

    def tasks(self, indices, out, epoch):
        Counting.read += len(indices)
        return super().tasks(indices, out, epoch)


class _Few(ImageDataModule):
    """30 random colour images to train on and 12 to validate on."""

    def default_shape(self):
        return 32, 3

    def data_classes(self):
        return ["a", "b", "c"]

    def fingerprint(self):
        return "few"

    def build_splits(self, names):
        images = torch.randint(0, 256, (42, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
        source = Counting(images, torch.arange(42) % 3, "few", self.channels, self.image_size)
        return {"train": Split(source, torch.arange(30)), "val": Split(source, torch.arange(30, 42))}


def fit(backbone="resnet20", cache: bool | str = "auto", data=None, trainer=None, **settings):
    torch.manual_seed(0)
    settings = {"freeze": "backbone", "optimizer": "adamw", "lr": 0.01, **settings}
    task = ImageClassifier(3, 3, backbone, cache_features=cache, **settings)
    data = data or _Few(batch_size=8, normalize="imagenet")
    callback = FeatureCache()
    trainer = tiny_trainer(callback, **{"max_epochs": 3, **(trainer or {})})
    Counting.read = 0
    trainer.fit(task, datamodule=data)
    return task, trainer, data


def assert_same_run(first, second):
    for (name, a), b in zip(first[0].state_dict().items(), second[0].state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5, msg=name)
    for name, value in first[1].callback_metrics.items():
        torch.testing.assert_close(value, second[1].callback_metrics[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("backbone", NETWORKS)
def test_a_run_with_cached_features_is_that_without(backbone):
    plain = fit(backbone, cache=False)
    assert Counting.read == 3 * 42
    cached = fit(backbone, cache=True)
    assert_same_run(plain, cached)


@pytest.mark.parametrize(
    ("settings", "trainer"),
    [
        ({"ema_decay": 0.5}, {}),
        ({"label_smoothing": 0.1, "channels_last": False}, {"accumulate_grad_batches": 2}),
        ({"backbone": "timm/resnet10t", "backbone_args": {"drop_rate": 0.5}}, {}),
        pytest.param({}, {"precision": "64-true"}, marks=pytest.mark.slow),
        pytest.param({}, {"precision": "bf16-mixed"}, marks=pytest.mark.slow),
    ],
)
def test_it_is_so_with_averages_dropout_and_other_precisions(settings, trainer):
    assert_same_run(fit(cache=False, trainer=trainer, **settings), fit(cache=True, trainer=trainer, **settings))


def test_images_are_read_once_for_all_epochs(capsys):
    fit(cache="auto", trainer={"max_epochs": 5})
    assert Counting.read == 42 + 2  # two more to try how the network splits
    assert "64 features of 30 train and 12 val images computed once" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reason", "settings", "data"),
    [
        ("training images are augmented \\(`data.augment.flip`\\)", {}, {"augment": Augment(flip=0.5)}),
        ("images are mixed \\(`model.mixup_alpha`\\)", {"mixup_alpha": 0.2}, {}),
        ("`model.freeze=backbone` leaves heads", {"freeze": 1}, {}),
        ("not a vector of features", {"backbone": "torchvision/squeezenet1_1"}, {}),
    ],
)
def test_where_it_would_change_the_run_it_is_refused_or_with_auto_not_used(reason, settings, data, capsys):
    def module():
        return _Few(batch_size=8, normalize="imagenet", **data)

    with pytest.raises(UserError, match=f"^`model.cache_features=true`: .*{reason}"):
        fit(cache=True, data=module(), **settings)
    fit(cache="auto", data=module(), trainer={"max_epochs": 2}, **settings)
    assert Counting.read >= 2 * 42
    assert "computed once" not in capsys.readouterr().out


def test_a_data_set_that_changes_images_itself_is_refused():
    class _Noisy(_Few):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return super().on_after_batch_transfer(batch, dataloader_idx)

    with pytest.raises(UserError, match="_Noisy changes images in on_after_batch_transfer"):
        fit(cache=True, data=_Noisy(batch_size=8, normalize="imagenet"))


def test_a_single_epoch_is_not_worth_a_cache():
    fit(cache="auto", trainer={"max_epochs": 1})
    assert Counting.read == 42


def test_after_training_the_whole_network_runs_on_images_again():
    task, trainer, data = fit(cache=True)
    loss = float(trainer.callback_metrics["val/loss"])
    Counting.read = 0
    (result,) = trainer.validate(task, datamodule=data, verbose=False)
    assert Counting.read == 12
    assert result["val/loss"] == pytest.approx(loss, rel=1e-4)
    assert task.frozen_features is None


def test_many_features_are_on_the_disk_and_leave_nothing_there(monkeypatch, tmp_path):
    expected = fit(cache=True)
    kept = []
    monkeypatch.setenv("LIT_CNN_CACHE", str(tmp_path))
    monkeypatch.setattr(feature_source, "IN_MEMORY", 0)
    make = feature_source._zeros
    monkeypatch.setattr(feature_source, "_zeros", lambda *args: kept.append(make(*args)) or kept[-1])
    found = fit(cache=True)
    assert all(isinstance(array, np.memmap) for array in kept)
    assert len(kept) == 2
    assert all(
        torch.equal(a, b)
        for a, b in zip(expected[0].state_dict().values(), found[0].state_dict().values(), strict=True)
    )
    assert list((tmp_path / "features").iterdir()) == []


HEAD = [*TINY, "--model.freeze=backbone", "--data.augment=null", "--epochs=2"]


@pytest.mark.slow
def test_a_resume_in_the_middle_of_an_epoch_ends_with_the_same_bits(workdir, capsys):
    main(["fit", *HEAD, "--trainer.default_root_dir=straight"])
    assert "computed once" in capsys.readouterr().out
    main(["fit", *HEAD, *EVERY_STEP, "--trainer.default_root_dir=stopped"])
    stopped, straight = (workdir / name / "lightning_logs" / "version_0" for name in ("stopped", "straight"))
    main(["fit", "--ckpt_path", str(stopped / "checkpoints" / "step13.ckpt"), *AS_BEFORE])
    assert state_differences(straight / "checkpoints" / "last.ckpt", stopped / "checkpoints" / "last.ckpt") == []
    capsys.readouterr()
    last = str(stopped / "checkpoints" / "last.ckpt")
    main(["fit", "--ckpt_path", last, "--epochs=3", "--model.cache_features=false"])
    shown = capsys.readouterr().out
    assert "cached features True -> False" in shown
    assert "computed once" not in shown


def test_a_checkpoint_is_the_whole_network(workdir):
    main(["fit", *HEAD, "--model.cache_features"])
    run = workdir / "lightning_logs" / "version_0"
    best = max(float(row["val/acc"]) for row in rows(run / "metrics.csv"))
    main(["validate", "--ckpt_path", str(run / "checkpoints" / "best.ckpt"), QUIET])
    found = json.loads((run / "validate" / "metrics.json").read_text())
    assert found["val/acc"] == pytest.approx(best)
