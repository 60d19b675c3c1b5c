"""Synthetic haze, by the atmospheric scattering model: pairs of photos for users who have clear ones alone."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from lit_cnn.data.decoding.decode import read_decoded
from lit_cnn.data.decoding.find import find_image_files
from lit_cnn.data.decoding.formats import MAX_PIXELS
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.data.image_files import KINDS
from lit_cnn.errors import UnreadableImageError, UserError
from lit_cnn.results.gallery import to_image
from lit_cnn.utils.console import Display
from lit_cnn.utils.files import digest

SIDES = ("hazy", "clear")
BETA, LIGHT = (0.6, 1.8), (0.7, 1.0)  # scattering over the deepest pixel's distance, and atmospheric light
GRID = 6  # depth is smooth: so many random values a side, and a slope from the top, the farthest, to the bottom
SLOPE = 0.6  # share of the slope
QUALITY = 95  # of the JPEGs


def depth_map(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A depth that a scene might have, float32 (H, W) in [0, 1]."""
    coarse = Image.fromarray((rng.random((GRID, GRID)) * 255).astype(np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255
    return SLOPE * np.linspace(1, 0, height, dtype=np.float32)[:, None] + (1 - SLOPE) * smooth


def add_haze(clear: np.ndarray, depth: np.ndarray, beta: float, light: float) -> np.ndarray:
    """A photo in haze: ``I = J t + A (1 - t)`` with the transmission ``t = exp(-beta d)``.

    Narasimhan and Nayar 2002, "Vision and the atmosphere", section 3; the notation is that of He, Sun and Tang 2009,
    "Single image haze removal using dark channel prior", equations 1 and 2.

    Args:
        clear: J, uint8 (H, W, C).
        depth: d, float32 (H, W).
        beta: scattering coefficient; 0 is clear air.
        light: A, atmospheric light in [0, 1].

    Returns:
        I, uint8 (H, W, C).
    """
    transmission = np.exp(-beta * depth)[..., None]
    hazy = clear.astype(np.float32) * transmission + 255 * light * (1 - transmission)
    return hazy.clip(0, 255).round().astype(np.uint8)


def write_hazy_pairs(folder: Path, out: Path, threads: int, display: Display | None = None) -> dict[str, str]:
    """Write ``out/hazy`` and ``out/clear``, JPEGs of the names of the photos in a folder, for ``DehazePairs``.

    Haze is a function of a photo's name and size alone.

    Args:
        folder: photos, also in subfolders.
        out: made if need be.
        threads: that work at the same time.
        display: shows progress; None: no progress.

    Returns:
        Photos that cannot be read, with the reasons.

    Raises:
        UserError: there are no photos, two differ in their extension alone, or there are pairs already.
    """
    files = sorted(find_image_files(folder))
    names = [Path(file).with_suffix("").as_posix() for file in files]
    if not files:
        raise UserError(f"no images ({KINDS}) in folder {folder}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{folder}: several files are called {twice[0]}, but for the extension: keep one of them")
    if there := next((out / side for side in SIDES if (out / side).exists()), None):
        raise UserError(f"{there} is there already: give another folder, or remove it")
    broken: dict[str, str] = {}

    def work(file: str) -> None:
        try:
            clear = read_decoded(folder / file, Geometry(1, 3, max_pixels=MAX_PIXELS))
        except UnreadableImageError as error:
            broken[file] = error.reason
            return
        rng = np.random.default_rng(int(digest(Path(file).with_suffix("").as_posix()), 16))
        depth = depth_map(clear.shape[0], clear.shape[1], rng)
        hazy = add_haze(clear, depth, rng.uniform(*BETA), rng.uniform(*LIGHT))
        for side, pixels in zip(SIDES, (hazy, clear), strict=True):
            path = (out / side / file).with_suffix(".jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            to_image(pixels.transpose(2, 0, 1)).save(path, "JPEG", quality=QUALITY, subsampling=0)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for done, _ in enumerate(pool.map(work, files), 1):
            if display is not None:
                display.show("adding haze", done, len(files))
    if display is not None:
        display.close()
    return {file: broken[file] for file in files if file in broken}
