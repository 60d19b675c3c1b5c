"""Decode an image file to uint8 pixels of the size and channels of the model.

Training crops of colour images are resized by torch, whose uint8 kernel takes a third of Pillow's time and differs
from it by at most 1 of 255; evaluation resizes with Pillow, exactly as torchvision's transforms of PIL images do.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lit_cnn.data.decoding.crash_report import named_in_crashes
from lit_cnn.data.decoding.formats import (
    MAX_PIXELS,
    ORIENTATION,
    EncodedImage,
    ImageFile,
    decode_pixels,
    is_upright,
    open_image,
    to_channels,
    upright_image,
)
from lit_cnn.data.transforms.rng import crop_box
from lit_cnn.errors import UnreadableImageError, UserError

# Sizes in pixels of a resized image from which only its part in the crop is made: above _LARGE, for images more than
# _LONGEST times as long as wide; above _LARGEST, for all.
_LARGE, _LONGEST, _LARGEST = 2**24, 64, 2**27
# Failures of this process and not of a file.
_PROCESS_ERRORS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Geometry:
    """How an image of any size becomes (channels, size, size).

    Args:
        size: Height and width of the result, in pixels.
        channels: 1 (grey) or 3 (RGB).
        eval_resize: ``center_crop``: the shorter side becomes ``size / eval_crop``, then the centre is cropped.
            ``stretch``: both sides become ``size``, whatever the aspect ratio.
        eval_crop: Share of the shorter side that ``center_crop`` keeps.
        max_pixels: Larger images are refused by their header, before decoding.
    """

    size: int
    channels: int
    eval_resize: str = "center_crop"
    eval_crop: float = 0.875
    max_pixels: int = MAX_PIXELS


def _draft(image: Image.Image, short: int, wanted: int, scales: Sequence[int]) -> bool:
    """Let the JPEG decoder downscale by one of ``scales`` where ``short`` pixels stay at least ``wanted``.

    Decoding at a smaller scale is several times faster. It never decodes below the requested size, so nothing is
    upsampled, but its filter is not the resizing filter: evaluation never uses it.

    Returns:
        Whether it does.
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
    # Arrays of Pillow and of the pixel cache are read-only, which torch warns about.
    batch = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)[None]
    return F.interpolate(batch, (height, width), mode="bilinear", antialias=True)[0].numpy()


def crop_resized(pixels: np.ndarray, box: Sequence[int], size: int) -> np.ndarray:
    """Crop ``box`` (top, left, height, width) of uint8 (H, W, C) and resize it to (C, size, size)."""
    top, left, height, width = box
    return resized(pixels[top : top + height, left : left + width], size, size)


def _decode(
    path: ImageFile, geometry: Geometry, crop: Tensor | None, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    size = geometry.size
    with open_image(path, geometry.max_pixels) as image:
        if crop is not None:
            return _random_crop(image, geometry, crop, scale, ratio)
        pixels = decode_pixels(image, geometry.channels)
        image = Image.fromarray(pixels if geometry.channels == 3 else pixels[:, :, 0])
        if geometry.eval_resize == "stretch":
            image = _stretch(image, size)
        else:
            image = _center_crop(image, size, geometry.eval_crop)
        pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if geometry.channels == 1 else pixels.transpose(2, 0, 1)


def _random_crop(
    image: Image.Image, geometry: Geometry, crop: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    width, height = image.size
    if not is_upright(image) and image.getexif()[ORIENTATION] >= 5:  # on its side
        width, height = height, width
    top, left, h, w = crop_box(crop, height, width, scale, ratio)
    if not _draft(image, min(h, w), geometry.size, (8, 4)):  # by 2 is no faster than decoding it in full
        return crop_resized(decode_pixels(image, geometry.channels), (top, left, h, w), geometry.size)
    image = upright_image(image)
    x, y = image.size[0] / width, image.size[1] / height
    box = (left * x, top * y, min((left + w) * x, image.size[0]), min((top + h) * y, image.size[1]))
    image = to_channels(image, geometry.channels)
    pixels = np.asarray(image.resize((geometry.size,) * 2, Image.Resampling.BILINEAR, box=box))  # between pixels
    return pixels[None] if geometry.channels == 1 else pixels.transpose(2, 0, 1)


def _decode_bounded(path: ImageFile, geometry: Geometry, short: int) -> np.ndarray:
    with open_image(path, geometry.max_pixels) as image:
        drafted = _draft(image, min(image.size), geometry.size, (8, 4, 2))  # by 2 saves the resizing
        pixels = decode_pixels(image, geometry.channels, drafted)
    height, width = pixels.shape[:2]
    shrink = short / min(height, width)
    if shrink >= 1:
        return np.ascontiguousarray(pixels)
    smaller = resized(pixels, max(short, round(height * shrink)), max(short, round(width * shrink)))
    return np.ascontiguousarray(smaller.transpose(1, 2, 0))


def _stretch(image: Image.Image, size: int) -> Image.Image:
    if image.height * size > _LARGE:  # Pillow would first make it as wide as the result, in its full height
        image = image.resize((image.width, size), Image.Resampling.BILINEAR)
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _center_crop(image: Image.Image, size: int, share: float) -> Image.Image:
    """Resize the shorter side to ``size / share`` and crop the centre: torchvision's Resize and CenterCrop."""
    width, height = image.size
    short = max(size, round(size / share))
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    if width * height > min(max(_LARGE, _LONGEST * short**2), _LARGEST):
        return _resize_centre(image, (width, height), (left, top), size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return image.crop((left, top, left + size, top + size))


def _resize_centre(image: Image.Image, full: tuple[int, int], corner: tuple[int, int], size: int) -> Image.Image:
    """A square of the image resized to ``full``, which itself is never made; its values differ by rounding alone.

    Args:
        image: of any size.
        full: width and height of the resized image.
        corner: left and top of the square in it.
        size: side of the square.
    """
    around, box = [], []
    for length, to, start in zip(image.size, full, corner, strict=True):
        scale = length / to
        reach = max(scale, 1.0) + 1  # of the filter
        first, last = start * scale, min((start + size) * scale, length)
        around.append((max(0, math.floor(first - reach)), min(length, math.ceil(last + reach))))
        box.append((first - around[-1][0], last - around[-1][0]))
    # Near the origin, since Pillow keeps the corners of the box in single precision.
    part = image.crop((around[0][0], around[1][0], around[0][1], around[1][1]))
    corners = (box[0][0], box[1][0], box[0][1], box[1][1])
    return part.resize((size, size), Image.Resampling.BILINEAR, box=corners)


def read_image(
    path: ImageFile,
    geometry: Geometry,
    crop: Tensor | None = None,
    scale: tuple[float, float] = (1.0, 1.0),
    ratio: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Decode an image file.

    Grey, palette, CMYK, 16-bit and transparent (over white) images are converted to ``geometry.channels``, EXIF
    rotation is applied, and of an animation the first frame is taken.

    Args:
        path: The file.
        geometry: The result's size and channels, and how to resize without a crop.
        crop: float32 (22,) random numbers of ``rng.CROP_OPS`` for a random resized crop; None for evaluation.
        scale: Of the random crop, see ``Augment.crop_scale``.
        ratio: Of the random crop, see ``Augment.crop_ratio``.

    Returns:
        uint8 (channels, size, size).

    Raises:
        UserError: The file is missing, not an image, damaged or too large, or its decoder failed; the message names it.
    """
    return _read(path, _decode, geometry, crop, scale, ratio)


def read_bounded(path: ImageFile, geometry: Geometry, short: int) -> np.ndarray:
    """Decode an uncropped image, downsized where its shorter side is above ``short`` pixels.

    Returns:
        uint8 (height, width, channels), contiguous. JPEGs are decoded at 1/2, 1/4 or 1/8 of their size where their
        shorter side is then still at least ``geometry.size``.

    Raises:
        UserError: as ``read_image``.
    """
    return _read(path, _decode_bounded, geometry, short)


def _read(path: ImageFile, function: Callable[..., np.ndarray], *args: Any) -> np.ndarray:
    try:
        return named_in_crashes(path, function, path, *args)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files (OSError, SyntaxError, ...)
        if _is_process_error(error):
            raise _process_error(path, error) from error
        advice = "fix or remove it, or leave such files out with `data.on_bad_image=skip`"
        if isinstance(path, EncodedImage):
            advice = "write the shards again from good files"
        raise UnreadableImageError(str(path), failure_reason(error), advice) from error


def _is_process_error(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _PROCESS_ERRORS)


def _process_error(path: ImageFile, error: BaseException) -> UserError:
    reason = "not enough memory" if isinstance(error, MemoryError) else failure_reason(error)
    return UserError(
        f"cannot read image {path} now: {reason}; close other programs, or decode fewer images at once with a smaller "
        "`data.workers`, or refuse large ones with a smaller `data.max_pixels`"
    )


def failure_reason(error: BaseException) -> str:
    """Return the reason why an image file cannot be read, without its path."""
    if isinstance(error, OSError) and error.errno is not None:
        words = {errno.ENOENT: "there is no such file", errno.EACCES: "no permission to read it"}
        return words.get(error.errno) or str(error.strerror).lower()
    if isinstance(error, UnidentifiedImageError):
        return "it is empty or no image of a known format"
    reason = " ".join(str(error).split()).lower() or type(error).__name__
    return f"its pixels are damaged ({reason})" if reason.startswith("decoder error") else reason


def check_image(path: ImageFile, max_pixels: int) -> tuple[str | None, bool]:
    """Check that an image file can be decoded.

    Returns:
        None or the reason why not; and whether that holds until the file is changed. A file that cannot be opened may
        become readable without a change.

    Raises:
        UserError: This process is out of memory or file handles, so nothing is known about the file.
    """
    try:
        named_in_crashes(path, _decode_fully, path, max_pixels)
    except Exception as error:  # see read_image
        if _is_process_error(error):
            raise _process_error(path, error) from error
        return failure_reason(error), not (isinstance(error, OSError) and error.errno is not None)
    return None, True


def _decode_fully(path: ImageFile, max_pixels: int) -> None:
    with open_image(path, max_pixels) as image:
        image.load()
        to_channels(image, 3)
