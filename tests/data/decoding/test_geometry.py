"""Sizes of height x width, and the three ways to get there: crop, squash and letterbox."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision import transforms

from lit_cnn.data.decoding.decode import read_bounded, read_image
from lit_cnn.data.decoding.geometry import Geometry, parse_size
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform
from lit_cnn.errors import UserError
from tests.data.decoding.helpers import rgb_image, save_image

SIZES = [(40, 61), (61, 40), (50, 50), (10, 12), (48, 64), (7, 300), (33, 20)]
TARGETS = [(48, 64), (64, 48), (33, 47), (32, 32)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", TARGETS)
def test_letterbox_is_pillows_pad_with_imagenets_mean_colour(
    size: tuple[int, int], channels: int, tmp_path: Path
) -> None:
    colour, mode = ((124, 116, 104), "RGB") if channels == 3 else (114, "L")
    for height, width in SIZES:
        path = save_image(tmp_path / "a.png", rgb_image(0, height, width).convert(mode))
        padded = ImageOps.pad(Image.open(path), size[::-1], Image.Resampling.BILINEAR, color=colour)
        out = read_image(path, Geometry(size, channels, "letterbox"))
        assert np.array_equal(out, transforms.PILToTensor()(padded).numpy()), (height, width)


@pytest.mark.parametrize("size", TARGETS)
def test_squash_is_torchvisions_resize_of_both_sides(size: tuple[int, int], tmp_path: Path) -> None:
    reference = transforms.Compose([transforms.Resize(size), transforms.PILToTensor()])
    for height, width in SIZES:
        path = save_image(tmp_path / "a.png", rgb_image(0, height, width))
        assert np.array_equal(read_image(path, Geometry(size, 3, "stretch")), reference(Image.open(path)).numpy())


@pytest.mark.parametrize("size", TARGETS)
def test_center_crop_covers_the_size_and_crops_it_out_of_torchvisions_resize(
    size: tuple[int, int], tmp_path: Path
) -> None:
    for height, width in SIZES:
        path = save_image(tmp_path / "a.png", rgb_image(0, height, width))
        scale = max(size[0] / height, size[1] / width)
        covering = [max(side, int(length * scale)) for side, length in zip(size, (height, width), strict=True)]
        reference = transforms.Compose(
            [transforms.Resize(covering), transforms.CenterCrop(size), transforms.PILToTensor()]
        )
        out = read_image(path, Geometry(size, 3, "center_crop", 1.0))
        assert np.array_equal(out, reference(Image.open(path)).numpy()), (height, width)


def test_random_crops_of_a_wide_size_keep_the_aspect_ratio_of_objects(tmp_path: Path) -> None:
    """The whole of an image of the model's own shape is a crop without distortion, as for a square."""
    path = save_image(tmp_path / "a.png", rgb_image(0, 60, 120))
    draws = counter_uniform(1, 0, torch.arange(1), CROP_OPS)[:, 0]
    whole = read_image(path, Geometry((60, 120), 3), draws, (1.0, 1.0), (1.0, 1.0))
    assert np.array_equal(whole, np.asarray(Image.open(path)).transpose(2, 0, 1))
    assert read_image(path, Geometry((24, 40), 3), draws, (0.1, 0.5), (0.75, 4 / 3)).shape == (3, 24, 40)


def test_a_large_jpeg_is_never_decoded_smaller_than_height_or_width(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.jpg", rgb_image(0, 400, 400), quality=95)
    assert read_bounded(path, Geometry((20, 150), 3), 400).shape == (200, 200, 3)


def test_a_square_is_stored_as_a_number_with_the_key_of_earlier_caches() -> None:
    assert parse_size([32, 32]) == parse_size(32) == 32
    assert parse_size((96, 128)) == parse_size([96, 128]) == (96, 128)
    assert repr(Geometry(32, 3)) == (
        "Geometry(size=32, channels=3, eval_resize='center_crop', eval_crop=0.875, max_pixels=89478485)"
    )
    assert Geometry((96, 128), 3).shape == (3, 96, 128)


@pytest.mark.parametrize("value", [0, [96, 0], [1, 2, 3], [96], "96", 1.5, [1.5, 2], True])
def test_other_sizes_are_refused_in_one_line(value: object) -> None:
    with pytest.raises(UserError, match=r"`data\.image_size` is "):
        parse_size(value)
