"""Images written to files, and what is expected of reading them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lit_cnn.data.decoding.geometry import Geometry
from tests.data.helpers import pixels

SMALL = Geometry(size=16, channels=3, eval_resize="stretch")


def save_image(path: Path, image: Image.Image, **kwargs: object) -> Path:
    image.save(path, **kwargs)
    return path


def rgb_image(seed: int = 0, height: int = 40, width: int = 60) -> Image.Image:
    return Image.fromarray(pixels(seed, height, width))


def expected_pixels(image: Image.Image, channels: int = 3, size: int = 16) -> np.ndarray:
    image = image.convert("RGB" if channels == 3 else "L").resize((size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)
