"""Thumbnails of images: small, grey, and independent of an image's own size and encoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lit_cnn.data.decoding.formats import MAX_PIXELS, open_image, to_channels, upright_image

SIDE = 32  # pixels of a thumbnail


def thumbnail(path: Path, side: int = SIDE) -> np.ndarray:
    """Return a small grey version of an image file, stretched to a square: uint8 (side, side)."""
    with open_image(path, MAX_PIXELS) as image:
        return grey(image, side)


def grey(image: Image.Image, side: int = SIDE) -> np.ndarray:
    """Return an image as uint8 (side, side); area-averaged, so that it does not depend on the image's own size."""
    if image.format == "JPEG":
        image.draft("L", (4 * side, 4 * side))
    small = to_channels(upright_image(image), 1)
    return np.asarray(small.resize((side, side), Image.Resampling.BOX), dtype=np.uint8)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation in [-1, 1] of two thumbnails, which brightness and contrast do not change; 0: flat."""
    a, b = (each.astype(np.float64).ravel() - each.mean() for each in (first, second))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 0.0
