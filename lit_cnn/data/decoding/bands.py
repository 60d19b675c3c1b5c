"""Images of any number of channels (bands): NumPy files, and TIFFs of several pages or samples per pixel.

Whatever their type, values become 8 bits, as those of photos: uint8 as it is, uint16 divided by 257 and rounded, floats
in [0, 1] times 255; and with a value range (``data.value_range``) that range becomes 0 to 255, and what lies outside is
clipped.
"""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from lit_cnn.data.decoding.formats import (
    TIFF,
    EncodedImage,
    ImageFile,
    TooManyPixelsError,
    open_image,
    upright_image,
)
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.errors import UserError

PHOTO = (1, 3)  # numbers of channels that photos are converted to: grey, RGB
NPY = b"\x93NUMPY"
_SAMPLES, _BITS = 277, 258  # TIFF tags: samples per pixel, bits per sample


def has_bands(path: ImageFile, channels: int) -> bool:
    """Whether a file is read here, and not as a photo: a NumPy file, or any where the model takes bands."""
    if channels not in PHOTO:
        return True
    if isinstance(path, EncodedImage):
        return path.content.startswith(NPY)
    return str(path).lower().endswith(".npy")


def read_bands(path: ImageFile, geometry: Geometry) -> np.ndarray:
    """Read an image of ``geometry.channels`` channels.

    Returns:
        uint8 (H, W, channels).

    Raises:
        ValueError: It has another number of channels, values of no known range, or too many pixels.
        OSError: It cannot be read.
    """
    channels = geometry.channels
    with BytesIO(path.content) if isinstance(path, EncodedImage) else Path(path).open("rb") as file:
        start = file.read(8)
        file.seek(0)
        if start.startswith(NPY):
            values = _arrange(_load_npy(file, geometry), channels)
        elif start.startswith(TIFF):
            values = _tiff(path, file, geometry)
        else:
            values = _photo(path, geometry)
    return _to_channels(to_8_bit(values, geometry.value_range), channels)


def _load_npy(file: IO[bytes], geometry: Geometry) -> np.ndarray:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("it is a NumPy file of named fields: save a plain array")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"it is an array of shape {shape}: save (height, width, channels) or (height, width)")
    _check_pixels(math.prod(shape) // (geometry.channels if len(shape) == 3 else 1), geometry)
    start = file.tell()
    size = file.seek(0, 2) - start
    if size < math.prod(shape) * dtype.itemsize:
        raise ValueError(f"it is truncated: {size:,} bytes of {math.prod(shape) * dtype.itemsize:,}")
    file.seek(0)
    array: np.ndarray = np.load(file, allow_pickle=False)
    return array


def _check_pixels(pixels: int, geometry: Geometry) -> None:
    if pixels > geometry.max_pixels:
        raise TooManyPixelsError(f"it claims {pixels:,} pixels, more than {geometry.max_pixels:,} (`data.max_pixels`)")


def _arrange(values: np.ndarray, channels: int) -> np.ndarray:
    """Return (H, W) or (H, W, C) or (C, H, W) as (H, W, C), where C is ``channels`` or, for photos, 1 or 3."""
    if values.ndim == 2:
        return values[:, :, None]
    for wanted in (channels,) if channels not in PHOTO else (channels, 4 - channels):
        first, last = values.shape[0] == wanted, values.shape[2] == wanted
        if first and last:
            raise ValueError(
                f"it is an array of shape {values.shape}: are its {wanted} channels first or last? Crop it"
            )
        if first or last:
            return values if last else values.transpose(1, 2, 0)
    found = min(values.shape[0], values.shape[2])
    raise ValueError(f"it is an array of shape {values.shape}, and {_wants(channels)}: set `data.channels={found}`")


def _wants(channels: int) -> str:
    return f"`data.channels` is {channels}"


def _to_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Convert uint8 (H, W, C): grey to RGB and RGB to grey as photos are, nothing else."""
    found = pixels.shape[2]
    if found == channels:
        return np.ascontiguousarray(pixels)
    if {found, channels} != set(PHOTO):
        many = f"it has {found} channel{'s' if found > 1 else ''}"
        raise ValueError(f"{many}, and {_wants(channels)}: set `data.channels={found}`, or leave it out")
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[:, :, None]


def to_8_bit(values: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    """Scale values to uint8.

    Args:
        values: Of any shape; bool and uint8 are returned as 0 or 255 and as they are.
        value_range: Values that become 0 and 255; None: 0 and 65535 for uint16, 0 and 1 for floats.

    Raises:
        ValueError: There is no known range, or floats without one lie outside of [0, 1], or some are not finite.
    """
    kind = values.dtype
    if kind == np.uint8:
        return values
    if kind == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if kind.kind not in "uif":
        raise ValueError(f"its values are of type {kind}: save numbers")
    if kind.kind == "f" and not np.isfinite(values).all():
        raise ValueError("some of its values are NaN or infinite: replace them, by 0 for example")
    if value_range is not None:
        low, high = value_range
        return np.rint((values.astype(np.float64) - low).clip(0, high - low) * 255 / (high - low)).astype(np.uint8)
    if kind == np.uint16:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    least, most = values.min(), values.max()
    if kind.kind != "f" or least < 0 or most > 1:
        known = "of no known range" if kind.kind != "f" else "not all in [0, 1]"
        raise ValueError(
            f"its values, {kind} from {least:g} to {most:g}, are {known}: set `data.value_range=[LOW,HIGH]`"
        )
    return np.rint(values * 255).astype(np.uint8)


def _photo(path: ImageFile, geometry: Geometry) -> np.ndarray:
    """Read a file of another format, whose transparency is a band."""
    with open_image(path, geometry.max_pixels) as image:
        bands = len(image.getbands())
        if image.mode not in ("LA", "RGBA") or bands != geometry.channels:
            raise ValueError(
                f"its pixels are of type {image.mode}, and {_wants(geometry.channels)}: NumPy and TIFF files have any "
                "number"
            )
        return np.asarray(upright_image(image))


def _tiff(path: ImageFile, file: IO[bytes], geometry: Geometry) -> np.ndarray:
    """Read a TIFF: each page is a band, or each sample of a pixel is one."""
    try:
        with open_image(path, geometry.max_pixels) as image:
            assert isinstance(image, TiffImagePlugin.TiffImageFile)
            samples, pages = int(image.tag_v2.get(_SAMPLES, 1)), image.n_frames
            if samples == 1 and pages == geometry.channels and image.mode != "P":
                return _pages(image, pages, geometry)
            bits = image.tag_v2.get(_BITS, (8,))
            if samples == geometry.channels == len(image.getbands()) and set(bits) == {8}:
                return np.asarray(image)
    except UnidentifiedImageError:  # more samples than Pillow knows
        samples = pages = 0
    return _tiff_samples(file, geometry, samples, pages)


def _pages(image: Image.Image, pages: int, geometry: Geometry) -> np.ndarray:
    found = []
    for page in range(pages):
        image.seek(page)
        _check_pixels(math.prod(image.size), geometry)
        found.append(np.asarray(image))
    shapes = {page.shape for page in found}
    if len(shapes) > 1:
        raise ValueError(f"its {pages} pages are of several sizes or types: a page is a channel")
    return np.stack(found, axis=2)


def _tiff_samples(file: IO[bytes], geometry: Geometry, samples: int, pages: int) -> np.ndarray:
    """Read a TIFF by tifffile, which knows any number of samples of any type."""
    found = f" with {max(samples, pages)} channels" if samples else ""
    library = _tifffile(found)
    try:
        with library.TiffFile(file) as tiff:
            series: Any = tiff.series[0]
            axes, shape = str(series.axes), tuple(series.shape)
            if not {"Y", "X"} <= set(axes) or len(axes) > 3:
                raise ValueError(f"it is a TIFF of shape {shape} ({axes}): one image with channels is read")
            other = next((i for i, axis in enumerate(axes) if axis not in "YX"), None)
            count = 1 if other is None else shape[other]
            if count != geometry.channels:
                advice = f"set `data.channels={count}`"
                raise ValueError(f"it is a TIFF with {count} channels, and {_wants(geometry.channels)}: {advice}")
            _check_pixels(math.prod(shape) // count, geometry)
            values: np.ndarray = series.asarray()
    except (library.TiffFileError, IndexError) as error:
        raise ValueError(f"it is a damaged TIFF ({error})") from error
    return values[:, :, None] if other is None else np.moveaxis(values, other, 2)


def _tifffile(found: str) -> ModuleType:
    try:
        import tifffile
    except ImportError:
        raise ValueError(f"it is a TIFF{found} that Pillow cannot read: pip install 'lit-cnn[formats]'") from None
    return tifffile


def parse_value_range(value: Any) -> tuple[float, float] | None:
    """Return the setting ``value_range`` as two numbers, or None.

    Raises:
        UserError: It is something else.
    """
    if value is None:
        return None
    try:
        low, high = (float(number) for number in value)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"`data.value_range` is {value}: give two numbers, the smaller first, such as [0, 10000]")
    return low, high
