"""Every operation against torchvision or a hand computation, and one draw per sample."""

from __future__ import annotations

import pytest
import torch
import torchvision.transforms.functional as tvf
from torch import Tensor
from torchvision.transforms import InterpolationMode

from lit_cnn.data import Augment, counter_uniform
from lit_cnn.data.transforms.augment import augment_batch
from lit_cnn.data.transforms.image_ops import normalize
from lit_cnn.data.transforms.rng import CROP_OPS, ERASE_OPS, crop_boxes
from lit_cnn.errors import UserError

N, SIZE = 64, 24
INDEX = torch.arange(100, 100 + N)
ZERO, ONE = torch.zeros(3), torch.full((3,), 1 / 255)  # (x / 255 - 0) / (1 / 255): pixels stay in [0, 255]


def _images(channels: int = 3, n: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, channels, 6, 6, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(0, 255)
    return smooth.round().byte()


def _run(augment: Augment, images: Tensor, index: Tensor = INDEX, seed: int = 5, epoch: int = 3) -> Tensor:
    channels = images.shape[1]
    return augment_batch(
        images, index, augment=augment, seed=seed, epoch=epoch, mean=ZERO[:channels], std=ONE[:channels]
    )


def _draw(op: str) -> Tensor:
    return counter_uniform(5, 3, INDEX, op)


EVERYTHING = Augment(
    crop_scale=(0.3, 1.0),
    crop_padding=3,
    flip=0.5,
    vertical_flip=0.3,
    rotation=20,
    translate=0.1,
    zoom=0.1,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.2,
    erase=0.6,
    cutout=5,
)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_is_augmented_the_same_whatever_its_batch(channels: int) -> None:
    images = _images(channels)
    whole = _run(EVERYTHING, images)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    for part in order.split(7):
        assert torch.equal(_run(EVERYTHING, images[part], INDEX[part]), whole[part])


def test_samples_epochs_and_seeds_are_augmented_differently() -> None:
    same = _images(n=1).expand(N, -1, -1, -1)
    out = _run(EVERYTHING, same)
    assert len({tuple(image.flatten().tolist()) for image in out}) == N
    assert not torch.equal(out, _run(EVERYTHING, same, epoch=4))
    assert not torch.equal(out, _run(EVERYTHING, same, seed=6))


def test_images_given_are_not_changed() -> None:
    images = _images()
    copy = images.clone()
    _run(EVERYTHING, images)
    _run(Augment(), images)
    assert torch.equal(images, copy)
    floats = images.float()
    normalize(floats, ONE, ONE)
    assert torch.equal(floats, copy.float())


def test_normalisation_equals_totensor_and_normalize() -> None:
    images, mean, std = _images(), torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.25, 0.24, 0.26])
    expected = tvf.normalize(images.float() / 255, mean.tolist(), std.tolist())
    torch.testing.assert_close(normalize(images, mean, std), expected, rtol=1e-5, atol=1e-6)
    assert normalize(images, mean, std).dtype == torch.float32
    assert normalize(images[:0], mean, std).shape == (0, 3, SIZE, SIZE)
    nothing = augment_batch(images[:0], INDEX[:0], augment=EVERYTHING, seed=0, epoch=0, mean=mean, std=std)
    assert nothing.shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_crop_with_padding_and_flip_is_an_exact_shift_of_the_padded_image(mode: str) -> None:
    images = _images()
    out = _run(Augment(crop_padding=4, padding_mode=mode, flip=0.5), images).round().byte()
    tops, lefts = (_draw("pad/y") * 9).long().tolist(), (_draw("pad/x") * 9).long().tolist()
    flips = (_draw("flip/-1") < 0.5).tolist()
    assert len(set(tops)) == len(set(lefts)) == 9
    assert 15 < sum(flips) < 49
    for i in range(N):
        padded = tvf.pad(images[i], [4], padding_mode="constant" if mode == "zeros" else "reflect")
        expected = tvf.crop(padded, tops[i], lefts[i], SIZE, SIZE)
        assert torch.equal(out[i], tvf.hflip(expected) if flips[i] else expected)


def test_reflection_needs_an_image_larger_than_the_padding() -> None:
    with pytest.raises(UserError, match=r"`data.augment.crop_padding` is 24: .* below the image size of 24"):
        _run(Augment(crop_padding=SIZE, padding_mode="reflect"), _images())


def test_random_resized_crop_equals_crop_then_bilinear_resize() -> None:
    images = _images()
    out = _run(Augment(crop_scale=(0.1, 0.9)), images)
    boxes = crop_boxes(counter_uniform(5, 3, INDEX, CROP_OPS), SIZE, SIZE, (0.1, 0.9), (3 / 4, 4 / 3))
    for i, (top, left, height, width) in enumerate(boxes.tolist()):
        crop = tvf.crop(images[i : i + 1].float(), top, left, height, width)
        expected = torch.nn.functional.interpolate(crop, (SIZE, SIZE), mode="bilinear", antialias=False)
        torch.testing.assert_close(out[i], expected[0], rtol=0, atol=0.01)


def test_rotation_equals_torchvision() -> None:
    images = _images()
    out = _run(Augment(rotation=30), images)
    angles = ((2 * _draw("rotate") - 1) * 30).tolist()
    assert min(angles) < -20
    assert max(angles) > 20
    for i in range(N):
        expected = tvf.rotate(images[i].float(), angles[i], InterpolationMode.BILINEAR)
        torch.testing.assert_close(out[i], expected, rtol=0, atol=0.1)


def test_translation_and_zoom_equal_torchvision_affine_on_a_rectangle() -> None:
    images = _images()[..., :18]
    out = _run(Augment(translate=0.2, zoom=0.3, rotation=10), images)
    angle, scale = -((2 * _draw("rotate") - 1) * 10), 1 + (2 * _draw("zoom") - 1) * 0.3
    x = ((2 * _draw("shift/x") - 1) * 0.2 * 18).round()
    y = ((2 * _draw("shift/y") - 1) * 0.2 * SIZE).round()
    for i in range(N):
        expected = tvf.affine(
            images[i].float(),
            float(angle[i]),
            [int(x[i]), int(y[i])],
            float(scale[i]),
            [0.0],
            InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(out[i], expected, rtol=0, atol=0.2)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colour_changes_equal_torchvision(name: str) -> None:
    images = _images()
    out = _run(Augment(**{name: 0.4}), images) / 255
    draws = _draw(name)
    factors = (2 * draws - 1) * 0.4 if name == "hue" else 0.6 + draws * 0.8
    for i in range(N):
        expected = getattr(tvf, f"adjust_{name}")(images[i].float() / 255, float(factors[i]))
        torch.testing.assert_close(out[i], expected, rtol=0, atol=2e-4)


def test_colour_changes_of_grey_images_keep_them_grey_and_saturation_leaves_them_alone() -> None:
    grey = _images(1)
    assert torch.equal(_run(Augment(saturation=0.5, hue=0.3), grey), _run(Augment(), grey))
    as_rgb = grey.expand(-1, 3, -1, -1)
    out = _run(Augment(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.3), as_rgb)
    torch.testing.assert_close(out[:, 0], out[:, 1], rtol=0, atol=0.05)
    torch.testing.assert_close(out[:, 0], out[:, 2], rtol=0, atol=0.05)


def test_erasing_blanks_one_box_of_the_stated_area_and_ratio_to_the_mean_in_the_stated_share_of_images() -> None:
    n = 2000
    images = torch.full((n, 1, SIZE, SIZE), 200, dtype=torch.uint8)
    augment = Augment(erase=0.25, erase_scale=(0.1, 0.2), erase_ratio=(0.5, 2.0))
    out = augment_batch(
        images, torch.arange(n), augment=augment, seed=0, epoch=0, mean=torch.tensor([0.5]), std=torch.tensor([0.2])
    )
    erased = out == 0
    hit = erased.flatten(1).any(1)
    assert abs(float(hit.double().mean()) - 0.25) < 5 * (0.25 * 0.75 / n) ** 0.5
    for mask in erased[hit][:, 0]:
        rows, cols = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        height, width = int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1
        assert int(mask.sum()) == height * width  # one solid box
        assert 0.1 - 0.03 < height * width / SIZE**2 < 0.2 + 0.03
        assert 0.5 * 0.8 < width / height < 2.0 * 1.25
    assert len(ERASE_OPS) == len(set(ERASE_OPS))


def test_cutout_blanks_a_square_centred_anywhere_and_clipped_at_the_border() -> None:
    images = torch.full((N, 1, SIZE, SIZE), 9, dtype=torch.uint8)
    blank = _run(Augment(cutout=8), images)[:, 0] == 0
    centre_y, centre_x = (_draw("cutout/y") * SIZE).long().tolist(), (_draw("cutout/x") * SIZE).long().tolist()
    for mask, y, x in zip(blank, centre_y, centre_x, strict=True):
        expected = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        expected[max(0, y - 4) : y + 4, max(0, x - 4) : x + 4] = True
        assert torch.equal(mask, expected)


@pytest.mark.parametrize(
    "wrong",
    [{"flip": 1.5}, {"crop_padding": -1}, {"hue": 0.6}, {"padding_mode": "edge"}, {"crop_scale": (0.9, 0.1)}],
)
def test_settings_that_make_no_sense_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"`data.augment.{next(iter(wrong))}` is "):
        Augment(**wrong)


def test_alternating_flips_mirror_in_every_second_epoch_what_was_not_mirrored_before() -> None:
    image = torch.arange(64 * 4, dtype=torch.uint8).view(64, 1, 1, 4)
    mean, std = torch.zeros(1), torch.ones(1) / 255

    def looks(epoch: int) -> torch.Tensor:
        augment = Augment(flip=0.5, alternate_flip=True)
        return augment_batch(image, torch.arange(64), augment=augment, seed=1, epoch=epoch, mean=mean, std=std)

    first, second, third = looks(0), looks(1), looks(2)
    assert torch.equal(first, third)
    assert torch.equal(second, first.flip(-1))
    mirrored = (first != image).any(-1).sum()
    assert 16 < mirrored < 48
