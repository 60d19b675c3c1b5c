"""Decode an image file to uint8 pixels of the size and channels of the model.

Training crops of colour images are resized by torch, whose uint8 kernel takes a third of Pillow's time and differs
from it by at most 1 of 255; evaluation resizes with Pillow, exactly as torchvision's transforms of PIL images do.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lit_cnn.data.decoding.bands import has_bands, read_bands
from lit_cnn.data.decoding.crash_report import named_in_crashes
from lit_cnn.data.decoding.formats import (
    EncodedImage,
    ImageFile,
    UnknownTiffError,
    decode_pixels,
    open_image,
    to_channels,
    upright_image,
    upright_size,
)
from lit_cnn.data.decoding.geometry import Geometry, to_size
from lit_cnn.data.transforms.rng import crop_box, crop_ratio
from lit_cnn.errors import UnreadableImageError, UserError

T = TypeVar("T")
# Failures of this process and not of a file.
_PROCESS_ERRORS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def _draft(image: Image.Image, part: tuple[int, int], wanted: tuple[int, int], scales: Sequence[int]) -> bool:
    """Let the JPEG decoder downscale by one of ``scales`` where ``part``, in pixels, stays at least ``wanted``.

    Decoding at a smaller scale is several times faster. It never decodes below the requested size, so nothing is
    upsampled, but its filter is not the resizing filter: evaluation never uses it.

    Returns:
        Whether it does.
    """
    scale = next((s for s in scales if part[0] >= s * wanted[0] and part[1] >= s * wanted[1]), 1)
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


def crop_resized(pixels: np.ndarray, box: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Crop ``box`` (top, left, height, width) of uint8 (H, W, C) and resize it to (C, *size)."""
    top, left, height, width = box
    return resized(pixels[top : top + height, left : left + width], *size)


def _decode(
    path: ImageFile, geometry: Geometry, crop: Tensor | None, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    if crop is None:
        return to_size(_decode_whole(path, geometry), geometry)
    if has_bands(path, geometry.channels):
        pixels = read_bands(path, geometry)
        size = geometry.height, geometry.width
        height, width = pixels.shape[:2]
        return crop_resized(pixels, crop_box(crop, height, width, scale, crop_ratio(ratio, *size)), size)
    with open_image(path, geometry.max_pixels) as image:
        return _random_crop(image, geometry, crop, scale, ratio)


def _decode_whole(path: ImageFile, geometry: Geometry) -> np.ndarray:
    if has_bands(path, geometry.channels):
        return read_bands(path, geometry)
    with open_image(path, geometry.max_pixels) as image:
        return decode_pixels(image, geometry.channels)


def _random_crop(
    image: Image.Image, geometry: Geometry, crop: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    height, width = upright_size(image)
    size = geometry.height, geometry.width
    top, left, h, w = crop_box(crop, height, width, scale, crop_ratio(ratio, *size))
    if not _draft(image, (h, w), size, (8, 4)):  # by 2 is no faster than decoding it in full
        return crop_resized(decode_pixels(image, geometry.channels), (top, left, h, w), size)
    image = upright_image(image)
    x, y = image.size[0] / width, image.size[1] / height
    box = (left * x, top * y, min((left + w) * x, image.size[0]), min((top + h) * y, image.size[1]))
    image = to_channels(image, geometry.channels)
    pixels = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR, box=box))  # between pixels
    return pixels[None] if geometry.channels == 1 else pixels.transpose(2, 0, 1)


def _decode_bounded(path: ImageFile, geometry: Geometry, short: int) -> np.ndarray:
    if has_bands(path, geometry.channels):
        pixels = read_bands(path, geometry)
    else:
        with open_image(path, geometry.max_pixels) as image:
            least = max(geometry.height, geometry.width)
            drafted = _draft(image, image.size, (least, least), (8, 4, 2))  # by 2 saves the resizing
            pixels = decode_pixels(image, geometry.channels, drafted)
    height, width = pixels.shape[:2]
    shrink = short / min(height, width)
    if shrink >= 1:
        return np.ascontiguousarray(pixels)
    smaller = resized(pixels, max(short, round(height * shrink)), max(short, round(width * shrink)))
    return np.ascontiguousarray(smaller.transpose(1, 2, 0))


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
        uint8 (channels, height, width).

    Raises:
        UserError: The file is missing, not an image, damaged or too large, or its decoder failed; the message names it.
    """
    return _read(path, _decode, geometry, crop, scale, ratio)


def read_decoded(path: ImageFile, geometry: Geometry) -> np.ndarray:
    """Decode an image file to ``geometry.channels``, in its own size.

    Returns:
        uint8 (height, width, channels).

    Raises:
        UserError: as ``read_image``.
    """
    return _read(path, _decode_whole, geometry)


def read_bounded(path: ImageFile, geometry: Geometry, short: int) -> np.ndarray:
    """Decode an uncropped image, downsized where its shorter side is above ``short`` pixels.

    Returns:
        uint8 (height, width, channels), contiguous. JPEGs are decoded at 1/2, 1/4 or 1/8 of their size where their
        shorter side is then still at least the longer one of ``geometry.size``.

    Raises:
        UserError: as ``read_image``.
    """
    return _read(path, _decode_bounded, geometry, short)


def read_size(path: ImageFile, max_pixels: int) -> tuple[int, int]:
    """Return height and width of an image as it is decoded, by its header.

    Raises:
        UserError: as ``read_image``.
    """
    return _read(path, _upright_size, max_pixels)


def _upright_size(path: ImageFile, max_pixels: int) -> tuple[int, int]:
    with open_image(path, max_pixels) as image:
        return upright_size(image)


def _read(path: ImageFile, function: Callable[..., T], *args: Any) -> T:
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
    if isinstance(error, UnknownTiffError):
        return "it is a damaged tiff, or one of several bands, which need `data.channels=N`"
    if isinstance(error, UnidentifiedImageError):
        return "it is empty or no image of a known format"
    reason = " ".join(str(error).split()).lower() or type(error).__name__
    return f"its pixels are damaged ({reason})" if reason.startswith("decoder error") else reason


def check_image(path: ImageFile, max_pixels: int, geometry: Geometry | None = None) -> tuple[str | None, bool]:
    """Check that an image file can be decoded; ``geometry`` has the channels, None: those of a photo.

    Returns:
        None or the reason why not; and whether that holds until the file is changed. A file that cannot be opened may
        become readable without a change.

    Raises:
        UserError: This process is out of memory or file handles, so nothing is known about the file.
    """
    try:
        named_in_crashes(path, _decode_fully, path, max_pixels, geometry or Geometry(1, 3, max_pixels=max_pixels))
    except Exception as error:  # see read_image
        if _is_process_error(error):
            raise _process_error(path, error) from error
        return failure_reason(error), not (isinstance(error, OSError) and error.errno is not None)
    return None, True


def _decode_fully(path: ImageFile, max_pixels: int, geometry: Geometry) -> None:
    if has_bands(path, geometry.channels):
        read_bands(path, geometry)
        return
    with open_image(path, max_pixels) as image:
        image.load()
        to_channels(image, 3)
