from __future__ import annotations

import numpy as np
import pytest
import torch

from lit_cnn.data import Digits, feature_source
from lit_cnn.data.feature_source import FeatureSource, image_batches, replace_images, restore_images
from lit_cnn.data.loading.loader import BatchLoader
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.errors import UserError


@pytest.fixture
def data():
    module = Digits(batch_size=100)
    module.setup("fit")
    return module


def test_batches_hold_the_features_of_their_samples_in_the_order_of_the_images(data):
    before = [(batch.index.tolist(), batch.target.tolist()) for batch in data.train_dataloader()]
    source = replace_images(data, "train", 3, torch.float32)
    source.features[:] = source.rows(data._split("train").indices).numpy()[:, None] + np.array([0.0, 0.25, 0.5])
    for batch, (index, target) in zip(data.train_dataloader(), before, strict=True):
        assert (batch.index.tolist(), batch.target.tolist()) == (index, target)
        assert batch.image.dtype == torch.float32
        assert torch.equal(batch.image[:, 1], source.rows(batch.index) + 0.25)
        assert data.on_after_batch_transfer(batch, 0) is batch
    assert source.name(5) == source.source.name(5)


def test_images_come_back(data):
    image = next(iter(data.val_dataloader())).image
    replace_images(data, "val", 2, torch.float64)
    assert next(iter(data.val_dataloader())).image.dtype == torch.float64
    restore_images(data)
    assert torch.equal(next(iter(data.val_dataloader())).image, image)


def test_ranks_get_every_image_once_between_them(data):
    read = [i for rank in range(3) for batch in image_batches(data, "train", rank, 3) for i in batch.index.tolist()]
    assert sorted(read) == data._split("train").indices.tolist()


def test_a_full_disk_is_one_line(data, monkeypatch):
    def full(descriptor, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_source, "IN_MEMORY", 0)
    monkeypatch.setattr(feature_source, "_allocate", full)
    with pytest.raises(UserError, match=r"cannot keep .* of features in .*: No space left on device; make room"):
        replace_images(data, "train", 3, torch.float32)


def test_a_loader_of_images_is_as_it_was(data):
    split = data._split("train")
    assert not isinstance(split.source, FeatureSource)
    assert next(iter(BatchLoader(split.source, split.indices, batch_size=4))).image.dtype == torch.uint8


@pytest.mark.parametrize(
    ("augment", "changes"),
    [
        (Augment(), []),
        (Augment(crop_ratio=(1.0, 1.0), padding_mode="reflect", erase_scale=(0.1, 0.2), erase_ratio=(1.0, 1.0)), []),
        (Augment(crop_scale=(0.5, 1.0), flip=0.5), ["crop_scale", "flip"]),
        (Augment(cutout=4), ["cutout"]),
    ],
)
def test_settings_that_change_images_are_named(augment, changes):
    assert augment.changes() == changes
