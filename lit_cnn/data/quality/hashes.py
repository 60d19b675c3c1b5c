"""Perceptual hashes: 64 bits of an image that survive encoding anew, resizing and changes of brightness.

The difference hash (dHash, Krawetz, "Kind of Like That", hackerfactor.com, 2013) holds whether each cell of an 8 x 8
grid is brighter than its right neighbour; the perceptual hash (pHash, Zauner, "Implementation and benchmarking of
perceptual image hash functions", 2010) whether each low frequency of the cosine transform is above the median.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lit_cnn.data.decoding.formats import MAX_PIXELS, open_image, to_channels, upright_image

SIDE = 32  # pixels of a thumbnail
BITS = 64


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


def dhash(thumbs: np.ndarray) -> np.ndarray:
    """Return difference hashes, uint64 (N,), of thumbnails, uint8 (N, 32, 32)."""
    small = _shrink(thumbs, 8, 9)
    return _pack(small[:, :, 1:] > small[:, :, :-1])


def phash(thumbs: np.ndarray) -> np.ndarray:
    """Return perceptual hashes, uint64 (N,), of thumbnails, uint8 (N, 32, 32)."""
    side = thumbs.shape[1]
    k, x = np.arange(8)[:, None], np.arange(side)[None]
    basis = np.cos(np.pi * k * (2 * x + 1) / (2 * side)).astype(np.float32)  # DCT-II, low frequencies only
    low = basis @ thumbs.astype(np.float32) @ basis.T
    flat = low.reshape(len(thumbs), -1)
    return _pack((flat > np.median(flat[:, 1:], axis=1, keepdims=True)).reshape(-1, 8, 8))


def _shrink(thumbs: np.ndarray, height: int, width: int) -> np.ndarray:
    """Average over cells: float32 (N, height, width)."""
    rows, columns = (_cells(thumbs.shape[axis], parts) for axis, parts in ((1, height), (2, width)))
    shrunk: np.ndarray = rows @ thumbs.astype(np.float32) @ columns.T
    return shrunk


def _cells(length: int, parts: int) -> np.ndarray:
    """Weights, float32 (parts, length), of the average over each of ``parts`` equal intervals."""
    edges = np.linspace(0, length, parts + 1)
    x = np.arange(length)
    overlap = np.minimum(x[None] + 1, edges[1:, None]) - np.maximum(x[None], edges[:-1, None])
    weights: np.ndarray = (overlap.clip(0) * parts / length).astype(np.float32)
    return weights


def _pack(bits: np.ndarray) -> np.ndarray:
    """Pack bool (N, 8, 8) into uint64 (N,)."""
    packed = np.packbits(bits.reshape(len(bits), BITS), axis=1)
    return np.ascontiguousarray(packed).view(">u8").astype(np.uint64).ravel()
