"""Augmentation policies: torchvision's own pixels, with random numbers by sample and epoch alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from lit_cnn.data import Augment, Digits
from lit_cnn.data.transforms.augment import augment_batch
from lit_cnn.data.transforms.policies import CLASSES
from lit_cnn.data.transforms.rng import counter_bits
from lit_cnn.errors import UserError

IMAGES = torch.randint(0, 256, (9, 3, 20, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def augmented(index: Tensor, images: Tensor = IMAGES, epoch: int = 1, **settings: Any) -> Tensor:
    """Pixels of an epoch, float in [0, 255]."""
    mean, std = torch.zeros(images.shape[1]), torch.full((images.shape[1],), 1 / 255)
    augment = Augment(**settings)
    return augment_batch(images[index], index, augment=augment, seed=3, epoch=epoch, mean=mean, std=std)


@pytest.mark.parametrize("policy", CLASSES)
def test_pixels_are_those_of_torchvision_whatever_the_batch(policy: str) -> None:
    everything = torch.arange(9)
    found = augmented(everything, policy=policy)
    parts = [augmented(part, policy=policy) for part in everything.split(2)]
    assert torch.equal(torch.cat(parts), found)
    reference = getattr(v2, CLASSES[policy])()
    for i, image in enumerate(IMAGES):
        torch.manual_seed(int(counter_bits(3, 1, torch.tensor([i]), ["policy"])[0]) & ((1 << 63) - 1))
        torch.testing.assert_close(found[i], reference(image).float(), rtol=0, atol=1e-3)
    assert not torch.equal(found, augmented(everything, policy=policy, epoch=2))
    assert not torch.equal(found, IMAGES.float())


@pytest.mark.parametrize("policy", CLASSES)
def test_grey_images_are_augmented_too(policy: str) -> None:
    grey = IMAGES[:, :1]
    assert augmented(torch.arange(9), grey, policy=policy).shape == grey.shape


def test_arguments_are_torchvisions() -> None:
    index = torch.arange(9)
    default = augmented(index, policy="rand_augment")
    assert torch.equal(default, augmented(index, policy="rand_augment", policy_args={"num_ops": 2, "magnitude": 9}))
    assert not torch.equal(default, augmented(index, policy="rand_augment", policy_args={"magnitude": 20}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "randaug"}, r"`data.augment.policy` is 'randaug': choose rand_augment, trivial_augment, augmix"),
        ({"policy": "augmix", "policy_args": {"severity": 99}}, r"augmix cannot be made with .*severity"),
        ({"policy": "rand_augment", "policy_args": {"n": 2}}, r"rand_augment cannot be made with .*'n'"),
        ({"policy": "auto_augment", "policy_args": {"policy": "x"}}, r"policy is one of imagenet, cifar10, svhn"),
        ({"policy_args": {"num_ops": 2}}, r"are given without `data.augment.policy`"),
    ],
)
def test_mistakes_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augment(**settings)


def test_bands_that_are_no_colours_are_refused() -> None:
    with pytest.raises(UserError, match=r"`data.augment.policy` changes RGB colours, and `data.channels` is 4"):
        Digits(channels=4, augment=Augment(policy="augmix"))
