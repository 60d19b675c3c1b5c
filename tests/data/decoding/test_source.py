"""Images decoded from files: evaluation as in torchvision, training crops by seed, epoch and sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

from lit_cnn.data import Augment
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform, crop_boxes
from tests.data.helpers import image_folder

Make = Callable[..., Path]


def test_evaluation_images_equal_torchvision_bit_for_bit(make_folder: Make) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    for resize, reference in (
        ("center_crop", [transforms.Resize(20), transforms.CenterCrop(16)]),
        ("stretch", [transforms.Resize((16, 16))]),
    ):
        data = image_folder(root, eval_resize=resize, eval_crop=16 / 20, channels=1)
        pipeline = transforms.Compose([*reference, transforms.PILToTensor()])
        for batch in data.val_dataloader():
            for image, index in zip(batch.image, batch.index, strict=True):
                picture = Image.open(root / data.sample_name("val", int(index))).convert("L")
                assert torch.equal(image, pipeline(picture))


def test_training_crops_are_those_of_the_hash_and_the_same_for_any_batch_size_and_workers(make_folder: Make) -> None:
    root = make_folder({"cat": 9, "dog": 9})
    crops = {}
    for batch_size, workers in ((2, 0), (3, 2), (18, 3)):
        data = image_folder(root, batch_size=batch_size, workers=workers)
        for batch in data.train_dataloader():
            for image, index in zip(batch.image, batch.index.tolist(), strict=True):
                assert torch.equal(crops.setdefault(index, image.clone()), image)
    index = next(iter(crops))
    name = data.sample_name("train", index)
    picture = Image.open(root / name)
    draws = counter_uniform(42, 0, torch.tensor([index]), CROP_OPS)
    top, left, height, width = crop_boxes(draws, picture.height, picture.width, (0.08, 1.0), (3 / 4, 4 / 3))[0].tolist()
    expected = v2.functional.resized_crop(pil_to_tensor(picture), top, left, height, width, [16, 16])
    assert torch.equal(crops[index], expected)


def test_the_crop_done_in_decoding_is_not_done_again_on_the_device(make_folder: Make) -> None:
    data = image_folder(make_folder({"cat": 4, "dog": 4}))
    assert data.augment.crop_scale == (0.08, 1.0)
    assert data._device_augment() == Augment(flip=0.5)
