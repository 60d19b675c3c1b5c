"""Data sets in memory: resized, split, normalised, augmented."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from lit_cnn.data import CIFAR10, MNIST, Augment, Digits, FashionMNIST, array_source, normalization
from lit_cnn.data.array_source import ArraySource, to_shape
from lit_cnn.data.transforms.augment import augment_batch
from lit_cnn.data.transforms.rng import permutation
from lit_cnn.errors import UserError

from .helpers import Recorder, concatenate_batches, make_trainer


def test_digits_are_scikit_learns_scaled_to_bytes_and_enlarged() -> None:
    bunch = load_digits()
    data = Digits(batch_size=2000, image_size=8)
    data.setup("fit")
    data.setup("test")
    parts = {name: len(part.indices) for name, part in data._splits.items()}
    assert parts == {"train": 1259, "val": 179, "test": 359}
    seen = []
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        image, target, index = concatenate_batches(loader)
        assert np.array_equal(image[:, 0].numpy(), np.rint(bunch.images[index] / 16 * 255))
        assert target.tolist() == bunch.target[index].tolist()
        seen += index.tolist()
    assert sorted(seen) == list(range(1797))
    large = Digits()
    large.setup("test")
    image, _, index = concatenate_batches(large.test_dataloader())
    assert image.shape[1:] == (1, 28, 28)
    exact = torch.from_numpy(np.rint(bunch.images[index] / 16 * 255))[:, None].float()
    expected = torch.nn.functional.interpolate(exact, (28, 28), mode="bilinear")
    assert int((image.float() - expected).abs().max()) <= 1


@pytest.mark.parametrize("part", ["val", "test"])
def test_digit_classes_are_split_alike(part: str) -> None:
    data = Digits()
    data.setup("fit")
    source = data._split(part).source
    shares = torch.bincount(source.targets[data._split(part).indices]) / torch.bincount(source.targets)
    wanted = 0.2 if part == "test" else 0.1
    assert float((shares - wanted).abs().max()) < 0.005


def test_published_statistics_of_the_digits_are_those_of_the_data() -> None:
    data = Digits()
    pixels = data._source("digits").images.double() / 255
    assert abs(float(pixels.mean()) - Digits.MEAN[0]) < 5e-5
    assert abs(float(pixels.std(correction=0)) - Digits.STD[0]) < 5e-5


def test_resizing_and_channel_conversion_agree_with_pillow() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    images = torch.from_numpy(pictures)
    for size in (16, 48):
        out = to_shape(images, 3, size).int()
        for i in range(5):
            picture = Image.fromarray(pictures[i].transpose(1, 2, 0)).resize((size, size), Image.Resampling.BILINEAR)
            assert np.abs(out[i].numpy() - np.asarray(picture).transpose(2, 0, 1)).max() <= 1
    grey = to_shape(images, 1, 32)
    for i in range(5):
        luma = np.asarray(Image.fromarray(pictures[i].transpose(1, 2, 0)).convert("L")).astype(int)
        assert np.abs(grey[i, 0].numpy() - luma).max() <= 1
    assert torch.equal(to_shape(grey, 3, 32), grey.expand(-1, 3, -1, -1))


def test_a_set_too_large_to_keep_converted_gives_out_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Digits(image_size=40, channels=3)
    whole.setup("test")
    monkeypatch.setattr(array_source, "MAX_CONVERTED", 0)
    bit_by_bit = Digits(image_size=40, channels=3)
    bit_by_bit.setup("test")
    source = bit_by_bit._split("test").source
    assert isinstance(source, ArraySource)
    assert source.images.shape[1:] == (1, 8, 8)
    for a, b in zip(whole.test_dataloader(), bit_by_bit.test_dataloader(), strict=True):
        assert torch.equal(a.image, b.image)


def test_normalisation_published_imagenet_computed_and_given() -> None:
    assert Digits().preprocessing()["mean"] == list(Digits.MEAN)
    assert Digits(channels=3).preprocessing()["std"] == list(Digits.STD) * 3
    assert Digits(channels=3, normalize="imagenet").preprocessing()["mean"] == [0.485, 0.456, 0.406]
    assert Digits(normalize="imagenet").preprocessing()["mean"] == pytest.approx([0.449])
    assert Digits(mean=[0.5], std=[0.25]).preprocessing()["std"] == [0.25]
    data = Digits(normalize="computed", batch_size=2000)
    data.setup("fit")
    pixels = next(iter(data.train_dataloader())).image.numpy() / 255
    found = data.preprocessing()
    assert found["mean"] == pytest.approx([pixels.mean()], rel=1e-9)
    assert found["std"] == pytest.approx([pixels.std()], rel=1e-9)
    (image, _, _), raw = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0), data.val_dataloader()
    expected = (next(iter(raw)).image.double() / 255 - pixels.mean()) / pixels.std()
    torch.testing.assert_close(image.double(), expected, rtol=1e-5, atol=1e-6)


def test_class_names_given_fix_the_indices_by_name() -> None:
    names = [str(i) for i in reversed(range(10))]
    data = Digits(class_names=names, batch_size=2000)
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    assert data.class_names == names
    assert batch.target.tolist() == [9 - i for i in load_digits().target[batch.index].tolist()]
    with pytest.raises(UserError, match=r"does not have: 3, 4, 5, 6, 7, 8, 9; data: 0, 1, .*; model: cat, 0, 1, 2"):
        Digits(class_names=["cat", *"012"]).setup("fit")


def test_fingerprints_distinguish_data_sets_and_do_not_change() -> None:
    prints = [data.fingerprint() for data in (Digits(), MNIST(), FashionMNIST(), CIFAR10())]
    assert len(set(prints)) == 4
    assert prints == [data.fingerprint() for data in (Digits(split_seed=1), MNIST(), FashionMNIST(), CIFAR10())]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "`data.batch_size` is 0"),
        ({"channels": 2}, "`data.channels` is 2"),
        ({"normalize": "best"}, "`data.normalize` is 'best'"),
        ({"mean": [0.5]}, "`data.mean` and `data.std` together"),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, "`data.mean` has 3 .* 1 channel"),
        ({"eval_batch_size": 0}, "`data.eval_batch_size` is 0"),
        ({"image_size": 0}, "`data.image_size` is 0"),
        ({"workers": -1}, "`data.workers` is -1"),
        ({"class_names": ["a", "a"]}, "names a class twice"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Digits(**settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"batch_size": 4}, 16),  # four times
        ({"batch_size": 30}, 44),  # 359 test images in at least eight batches
        ({"batch_size": 100}, 100),  # never fewer than in training
        ({"batch_size": 4, "eval_batch_size": 7}, 7),
    ],
)
def test_evaluation_takes_more_images_at_once_the_same_for_any_number_of_processes(
    settings: dict[str, int], expected: int
) -> None:
    data = Digits(**settings)
    assert data.test_dataloader().batch_size == expected
    assert data.train_dataloader().batch_size == settings["batch_size"]


def test_augmentation_happens_in_training_only() -> None:
    data = Digits(augment=Augment(crop_padding=4, cutout=6))
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    pixels = batch.image.float() / 255
    out = data.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(out.image, (pixels - Digits.MEAN[0]) / Digits.STD[0], rtol=1e-4, atol=1e-5)
    assert out.image.dtype == torch.float32
    assert torch.equal(out.target, batch.target)
    assert torch.equal(out.index, batch.index)


def test_what_training_sees_in_every_epoch_is_decided_by_seed_epoch_and_sample() -> None:
    augment = Augment(crop_padding=2, cutout=2)
    data = Digits(batch_size=500, image_size=8, seed=9, augment=augment)
    model = Recorder(64, 10)
    make_trainer(max_epochs=2).fit(model, datamodule=data)
    source = data._split("train").source
    assert isinstance(source, ArraySource)
    mean, std = torch.tensor(Digits.MEAN), torch.tensor(Digits.STD)
    assert len(model.seen) == 6
    for epoch, _, index, digests in model.seen:
        rows = torch.tensor(index)
        images = augment_batch(source.images[rows], rows, augment=augment, seed=9, epoch=epoch, mean=mean, std=std)
        assert [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images] == digests
    order = data._split("train").indices[permutation(9, 1, 1259)].tolist()
    assert [i for epoch, _, index, _ in model.seen if epoch == 1 for i in index] == order


class Ranks:
    """A trainer of two ranks, whose broadcasts are heard by the next one."""

    world_size, heard = 2, None

    def __init__(self, rank: int) -> None:
        self.is_global_zero, self.strategy = rank == 0, self

    def broadcast(self, found: object) -> object:
        if self.is_global_zero:
            Ranks.heard = found
        return Ranks.heard


def test_statistics_are_computed_on_rank_zero_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Digits(image_size=8, normalize="computed")
    alone.setup("fit")
    for rank in (0, 1):
        data = Digits(image_size=8, normalize="computed")
        data.trainer = Ranks(rank)
        data.setup("fit")
        assert data.preprocessing()["mean"] == alone.preprocessing()["mean"]
        assert data.preprocessing()["std"] == alone.preprocessing()["std"]
        monkeypatch.setattr(normalization, "compute", None)  # rank 1 reads no image


def test_an_error_of_rank_zero_is_that_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(loader: object) -> None:
        raise UserError("the training images are all of one colour")

    monkeypatch.setattr(normalization, "compute", fail)
    for rank in (0, 1):
        data = Digits(image_size=8, normalize="computed")
        data.trainer = Ranks(rank)
        with pytest.raises(UserError, match="all of one colour"):
            data.setup("fit")
