"""Open image files safely, and decode them upright, in 8 bits and the requested channels.

Pillow reads headers and every format but the usual JPEG, whose pixels torchvision decodes: the same bits (both are
libjpeg-turbo), in less than half the time.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)
from torch import Tensor
from torchvision import io

from lit_cnn.data.decoding import optional_formats

try:
    from PIL import AvifImagePlugin  # since Pillow 11.3
except ImportError:
    _AVIF = False
else:
    _AVIF = bool(AvifImagePlugin.SUPPORTED)
_JPEG_2000 = bool(features.check_codec("jpg_2000"))

EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    *(".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo", ".apng", ".dib"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".npy"),  # NumPy files are read by bands.py
    *optional_formats.INSTALLED,
    *((".avif",) if _AVIF else ()),
    *((".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc") if _JPEG_2000 else ()),
)
# The formats behind those names and no others: Pillow also has formats that start other programs (EPS: Ghostscript) or
# that have no signature (TGA). JPEG includes the two-image files of some cameras (MPO). Imported here, since Pillow
# imports plugins on demand, which is not safe in several threads at once.
_PLUGINS = (
    BmpImagePlugin.BmpImageFile,
    GifImagePlugin.GifImageFile,
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    TiffImagePlugin.TiffImageFile,
    WebPImagePlugin.WebPImageFile,
    BmpImagePlugin.DibImageFile,
    PpmImagePlugin.PpmImageFile,
    *((AvifImagePlugin.AvifImageFile,) if _AVIF else ()),
    *((Jpeg2KImagePlugin.Jpeg2KImageFile,) if _JPEG_2000 else ()),
)
_FORMATS = tuple(str(plugin.format) for plugin in _PLUGINS)
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how they begin
MAX_PIXELS = 89_478_485  # where Pillow itself begins to warn: 256 MiB of RGB
ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_TILE = (322, 323)  # TIFF tags: width and length
# Deprecated in 0.29; without it Pillow decodes, to the same bits.
_DECODE_JPEG: Callable[..., Tensor] | None = getattr(io, "decode_jpeg", None)

# The limit is checked below before any pixel is decoded, and raises an error instead of a warning.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Of invalid EXIF and the like: what matters raises an error too, and the warnings do not name the file.
warnings.filterwarnings("ignore", module=r"PIL\..*")
warnings.filterwarnings("ignore", message="The image decoding and encoding capabilities of TorchVision")


class UnknownTiffError(UnidentifiedImageError):
    """A TIFF that Pillow cannot read: it is damaged, or has more samples per pixel than photos have."""


class TooManyPixelsError(ValueError):
    """An image claims more pixels than ``data.max_pixels``; none of them was decoded."""


class EncodedImage:
    """The content of an image file, read from a shard.

    Args:
        name: For messages.
        content: Bytes of the file.
    """

    def __init__(self, name: str, content: bytes) -> None:
        self.name, self.content = name, content

    def __str__(self) -> str:
        return self.name


ImageFile = str | Path | EncodedImage


@contextlib.contextmanager
def open_image(path: ImageFile, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image file and read only its header. Raises what Pillow raises, and ValueError for too many pixels."""
    # An open file, not a path: given a path, Pillow 13 maps uncompressed TIFFs with sides swapped when EXIF turns them.
    # Path.open is slower than open.
    with BytesIO(path.content) if isinstance(path, EncodedImage) else open(path, "rb") as file:  # noqa: PTH123 (faster)
        try:
            image = _open(file, max_pixels)
        except Image.DecompressionBombError:
            raise TooManyPixelsError(f"it claims more than {max_pixels:,} pixels (`data.max_pixels`)") from None
        _check_size(*image.size, max_pixels)
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # a tile may claim more pixels than the image has
            tile = math.prod(int(image.tag_v2.get(tag, 0)) for tag in _TILE)
            if tile > max_pixels:
                raise TooManyPixelsError(
                    f"it claims a tile of {tile:,} pixels, more than {max_pixels:,} (`data.max_pixels`)"
                )
        yield image


def _open(file: IO[bytes], max_pixels: int) -> Image.Image:
    try:
        return Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        head = file.read(16)
        name = optional_formats.register_for(head)
        if name is None:
            if head.startswith(TIFF):
                raise UnknownTiffError("it is a TIFF that Pillow cannot read") from None
            raise
        file.seek(0)
        if name == "JXL" and (size := optional_formats.jxl_size(file.read())) is not None:
            _check_size(*size, max_pixels)
        file.seek(0)
        return Image.open(file, formats=(name,))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixelsError(f"it claims {width} x {height} pixels, more than {max_pixels:,} (`data.max_pixels`)")


def image_format(path: Path) -> str | None:
    """Return the format of a file of any name by its content, such as "JPEG", or None if it is not read here."""
    try:
        with open_image(path, MAX_PIXELS) as image:
            return image.format
    except Exception:  # see decode.read_image
        return None


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as 8-bit grey. Pillow's own conversion clips at 255, which gives a white image."""
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ValueError(f"its pixels are of type {image.mode!r} with no known range: save it with 8 or 16 bits")
    wide = np.asarray(image).astype(np.int64)  # mode I is how Pillow opens 16-bit PGM, and in some versions PNG
    return Image.fromarray(((wide * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8))


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert an image to mode L or RGB; transparency is composited over white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode:
        return image
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")  # palettes and CMYK have no direct conversion to grey
    return image.convert(mode)


def is_upright(image: Image.Image) -> bool:
    """Whether EXIF asks for no rotation."""
    try:
        return image.getexif().get(ORIENTATION, 1) in (0, 1)
    except Exception:  # invalid EXIF raises all sorts of errors, and does not affect the pixels
        return True


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return height and width after EXIF rotation."""
    width, height = image.size
    turned = not is_upright(image) and image.getexif()[ORIENTATION] >= 5  # on its side
    return (width, height) if turned else (height, width)


def open_upright(path: ImageFile, max_pixels: int) -> Image.Image:
    """Return an image as people see it, decoded.

    Raises:
        Exception: Whatever Pillow's decoders raise.
    """
    with open_image(path, max_pixels) as image:
        image.load()
        return upright_image(image).copy()


def upright_image(image: Image.Image) -> Image.Image:
    """Apply EXIF rotation."""
    return image if is_upright(image) else ImageOps.exif_transpose(image)


def decode_pixels(image: Image.Image, channels: int, drafted: bool = False) -> np.ndarray:
    """Decode an image upright to uint8 (height, width, channels); ``drafted`` if it was set to a smaller scale."""
    if (
        isinstance(image, JpegImagePlugin.JpegImageFile)
        and image.format == "JPEG"  # not MPO
        and image.mode in ("L", "RGB")
        and not drafted
        and is_upright(image)
    ):
        pixels = _jpeg_pixels(image)
        if pixels is not None and pixels.shape[2] == channels:
            return pixels
        if pixels is not None:
            image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    else:
        image = upright_image(image)
    pixels = np.asarray(to_channels(image, channels), dtype=np.uint8)
    return pixels[:, :, None] if channels == 1 else pixels


def _jpeg_pixels(image: JpegImagePlugin.JpegImageFile) -> np.ndarray | None:
    """Decode an opened JPEG by torchvision, to its own channels; None if that fails: Pillow decides."""
    if _DECODE_JPEG is None or image.fp is None:
        return None
    image.fp.seek(0)
    content = torch.frombuffer(bytearray(image.fp.read()), dtype=torch.uint8)
    try:
        decoded = _DECODE_JPEG(content, io.ImageReadMode.GRAY if image.mode == "L" else io.ImageReadMode.RGB)
    except RuntimeError:
        return None
    return decoded.permute(1, 2, 0).numpy()
