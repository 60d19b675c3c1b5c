"""From a picture file to uint8 pixels of the size and channels a model expects.

Training crops of colour pictures are resized by torch, whose kernel for bytes takes a third of Pillow's time and
differs from it by at most 1 of 255; evaluation resizes with Pillow, exactly as torchvision's transforms of PIL images
do.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lit_cnn.data.decoding.crash_report import named_in_crashes
from lit_cnn.data.decoding.formats import (
    MAX_PIXELS,
    ORIENTATION,
    Encoded,
    Picture,
    opened,
    pixels_of,
    to_channels,
    upright,
    upright_image,
)
from lit_cnn.data.transforms.rng import crop_box
from lit_cnn.errors import UserError

# Troubles of this process and not of a file.
_OWN_TROUBLES = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Geometry:
    """How a picture of any size becomes (channels, size, size).

    Args:
        size: Height and width of the result, in pixels.
        channels: 1 (grey) or 3 (RGB).
        eval_resize: ``center_crop``: the shorter side becomes ``size / eval_crop``, then the centre is cut out.
            ``stretch``: both sides become ``size``, whatever the aspect.
        eval_crop: Share of the shorter side that ``center_crop`` keeps.
        max_pixels: Larger pictures are refused by their header, before decoding.
    """

    size: int
    channels: int
    eval_resize: str = "center_crop"
    eval_crop: float = 0.875
    max_pixels: int = MAX_PIXELS


def _draft(image: Image.Image, short: int, wanted: int, scales: Sequence[int]) -> bool:
    """Let the JPEG decoder shrink by one of ``scales`` if what is ``short`` pixels stays at least ``wanted``.

    Decoding at a smaller scale is several times faster. It never decodes below the size asked for, so no detail is made
    up, but its filter is not the resizing filter: evaluation never uses it.

    Returns:
        Whether it will.
    """
    scale = next((s for s in scales if short >= s * wanted), 1)
    if scale == 1 or image.format != "JPEG":
        return False
    return image.draft(None, (image.size[0] // scale, image.size[1] // scale)) is not None


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 (H, W, C) with an antialiased bilinear filter to (C, height, width), in no particular layout."""
    if pixels.shape[2] == 1:
        image = Image.fromarray(pixels[:, :, 0]).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image)[None]
    # Arrays of Pillow and of stores are read-only, which torch warns of.
    batch = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)[None]
    return F.interpolate(batch, (height, width), mode="bilinear", antialias=True)[0].numpy()


def crop_resized(pixels: np.ndarray, box: Sequence[int], size: int) -> np.ndarray:
    """Cut ``box`` (top, left, height, width) out of uint8 (H, W, C) and resize it to (C, size, size)."""
    top, left, height, width = box
    return resized(pixels[top : top + height, left : left + width], size, size)


def _decode(
    path: Picture, geometry: Geometry, crop: Tensor | None, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    size = geometry.size
    with opened(path, geometry.max_pixels) as image:
        if crop is not None:
            return _random_crop(image, geometry, crop, scale, ratio)
        pixels = pixels_of(image, geometry.channels)
        image = Image.fromarray(pixels if geometry.channels == 3 else pixels[:, :, 0])
        if geometry.eval_resize == "stretch":
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        else:
            image = _center_crop(image, size, geometry.eval_crop)
        pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if geometry.channels == 1 else pixels.transpose(2, 0, 1)


def _random_crop(
    image: Image.Image, geometry: Geometry, crop: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    width, height = image.size
    if not upright(image) and image.getexif()[ORIENTATION] >= 5:  # it lies on its side
        width, height = height, width
    top, left, h, w = crop_box(crop, height, width, scale, ratio)
    if not _draft(image, min(h, w), geometry.size, (8, 4)):  # by 2 is no faster than all of it by pixels
        return crop_resized(pixels_of(image, geometry.channels), (top, left, h, w), geometry.size)
    image = upright_image(image)
    x, y = image.size[0] / width, image.size[1] / height
    box = (left * x, top * y, min((left + w) * x, image.size[0]), min((top + h) * y, image.size[1]))
    image = to_channels(image, geometry.channels)
    pixels = np.asarray(image.resize((geometry.size,) * 2, Image.Resampling.BILINEAR, box=box))  # between pixels
    return pixels[None] if geometry.channels == 1 else pixels.transpose(2, 0, 1)


def _decode_bounded(path: Picture, geometry: Geometry, short: int) -> np.ndarray:
    with opened(path, geometry.max_pixels) as image:
        drafted = _draft(image, min(image.size), geometry.size, (8, 4, 2))  # by 2 spares the resizing
        pixels = pixels_of(image, geometry.channels, drafted)
    height, width = pixels.shape[:2]
    shrink = short / min(height, width)
    if shrink >= 1:
        return np.ascontiguousarray(pixels)
    smaller = resized(pixels, max(short, round(height * shrink)), max(short, round(width * shrink)))
    return np.ascontiguousarray(smaller.transpose(1, 2, 0))


def _center_crop(image: Image.Image, size: int, share: float) -> Image.Image:
    """Resize the shorter side to ``size / share`` and cut out the centre: torchvision's Resize and CenterCrop."""
    width, height = image.size
    short = max(size, round(size / share))
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


def read_image(
    path: Picture,
    geometry: Geometry,
    crop: Tensor | None = None,
    scale: tuple[float, float] = (1.0, 1.0),
    ratio: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Read a picture file.

    Grey, palette, CMYK, 16-bit and transparent (over white) pictures become what ``geometry.channels`` asks for,
    EXIF rotation is applied, of an animation the first frame is taken.

    Args:
        path: The file.
        geometry: The result's size and channels, and how to resize without a crop.
        crop: float32 (22,) draws of ``augment.CROP_OPS`` for a random resized crop; None for evaluation.
        scale: Of the random crop, see ``Augment.crop_scale``.
        ratio: Of the random crop, see ``Augment.crop_ratio``.

    Returns:
        uint8 (channels, size, size).

    Raises:
        UserError: The file is missing, no picture, damaged or too large, or its decoder failed; the message names it.
    """
    return _read(path, _decode, geometry, crop, scale, ratio)


def read_bounded(path: Picture, geometry: Geometry, short: int) -> np.ndarray:
    """Read a whole picture, made smaller where its shorter side is above ``short`` pixels.

    Returns:
        uint8 (height, width, channels), contiguous. JPEGs are decoded at a half, a quarter or an eighth of their size
        where their shorter side is then still at least ``geometry.size``.

    Raises:
        UserError: as ``read_image``.
    """
    return _read(path, _decode_bounded, geometry, short)


def _read(path: Picture, function: Callable[..., np.ndarray], *args: Any) -> np.ndarray:
    try:
        return named_in_crashes(path, function, path, *args)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files (OSError, SyntaxError, ...)
        if _is_own_trouble(error):
            raise _own_trouble(path, error) from error
        mend = "fix or remove it, or start again with --data.on_bad_image skip"
        if isinstance(path, Encoded):
            mend = "write the shards again from good files"
        raise UserError(f"cannot read image {path}: {why(error)}; {mend}") from error


def _is_own_trouble(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OWN_TROUBLES)


def _own_trouble(path: Picture, error: BaseException) -> UserError:
    reason = "not enough memory" if isinstance(error, MemoryError) else why(error)
    return UserError(
        f"cannot read image {path} now: {reason}; close other programs, or decode fewer images at once with a smaller "
        "--data.workers, or refuse large ones with a smaller --data.max_pixels"
    )


def why(error: BaseException) -> str:
    """Return the reason a picture cannot be read in plain words, without its path."""
    if isinstance(error, OSError) and error.errno is not None:
        words = {errno.ENOENT: "there is no such file", errno.EACCES: "no permission to read it"}
        return words.get(error.errno) or str(error.strerror).lower()
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is empty or no picture of a known format"
    reason = " ".join(str(error).split()).lower() or type(error).__name__
    return f"its pixels are damaged ({reason})" if reason.startswith("decoder error") else reason


def check_image(path: Picture, max_pixels: int) -> tuple[str | None, bool]:
    """Decode a whole picture.

    Returns:
        None if that works, else the reason it does not; and whether that holds until the file is changed. A file that
        cannot be opened may be readable tomorrow, as it is.

    Raises:
        UserError: This process is short of memory or of file handles, which says nothing about the file.
    """
    try:
        named_in_crashes(path, _decode_fully, path, max_pixels)
    except Exception as error:  # see read_image
        if _is_own_trouble(error):
            raise _own_trouble(path, error) from error
        return why(error), not (isinstance(error, OSError) and error.errno is not None)
    return None, True


def _decode_fully(path: Picture, max_pixels: int) -> None:
    with opened(path, max_pixels) as image:
        image.load()
        to_channels(image, 3)
