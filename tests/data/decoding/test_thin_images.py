"""Very long and thin images: the same pixels as by resizing them whole, without the memory that takes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from lit_cnn.data.decoding import geometry as sizes
from lit_cnn.data.decoding.decode import read_bounded, read_image
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform
from tests.data.decoding.helpers import save_image

resource = pytest.importorskip("resource")
THIN = [(30_000, 2), (2, 30_000), (60_000, 1), (1, 60_000), (1, 4_000_000), (4_000_000, 1)]


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def reference(image: Image.Image, size: int, share: float) -> np.ndarray:
    """torchvision's evaluation transform."""
    short = max(size, round(size / share))
    pipeline = transforms.Compose([transforms.Resize(short), transforms.CenterCrop(size)])
    return np.asarray(pipeline(image)).astype(int)


@pytest.mark.parametrize("kind", ["center_crop", "stretch", "letterbox", "train", "cache"])
@pytest.mark.parametrize(("width", "height"), THIN, ids=str)
def test_thin_images_take_little_memory(width: int, height: int, kind: str, tmp_path: Path) -> None:
    image = Image.new("L", (width, height), 200)
    path = save_image(tmp_path / "a.png", image)
    geometry = Geometry(224, 3, "center_crop" if kind in ("train", "cache") else kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if kind == "cache":
        assert read_bounded(path, geometry, 336).shape == (height, width, 3)
    else:
        crop = counter_uniform(1, 2, torch.arange(1), CROP_OPS)[:, 0] if kind == "train" else None
        out = read_image(path, geometry, crop, (0.08, 1.0), (3 / 4, 4 / 3))
        assert out.shape == (3, 224, 224)
        assert (out == 200).all() == (kind != "letterbox")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 250_000 * (1024 if sys.platform == "darwin" else 1)  # a quarter of a gigabyte


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("width", "height"), [(300, 3), (3, 300), (997, 7), (7, 997), (2000, 1), (1, 1), (50, 60), (500, 31)], ids=str
)
def test_the_part_alone_has_the_pixels_of_the_whole_but_for_rounding(
    width: int, height: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "_LARGEST", 0)  # every image
    image = noise(width, height, mode)
    for size, share in ((32, 1.0), (32, 0.875), (33, 0.7), (64, 0.875), (16, 0.05)):
        found = np.asarray(sizes.center_crop(image, (size, size), share)).astype(int)
        assert np.abs(found - reference(image, size, share)).max() <= 1


@pytest.mark.parametrize(
    ("width", "height"), [(40, 40), (640, 480), (3000, 50), (50, 3000), (4000, 100), (1, 1), (5, 160)]
)
def test_ordinary_images_have_the_bits_of_torchvision(width: int, height: int) -> None:
    image = noise(width, height)
    for size in (32, 224):
        assert np.array_equal(np.asarray(sizes.center_crop(image, (size, size), 0.875)), reference(image, size, 0.875))


def test_an_image_of_the_limit_is_read_however_thin(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.png", Image.new("L", (30_000, 2), 9))
    assert read_image(path, Geometry(32, 1, max_pixels=60_000)).max() == 9
    with pytest.raises(Exception, match="claims 30000 x 2 pixels, more than 59,999"):
        read_image(path, Geometry(32, 1, max_pixels=59_999))
