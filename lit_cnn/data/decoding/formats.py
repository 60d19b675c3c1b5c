"""Picture files opened safely, and their pixels upright, in 8 bits and the channels asked for.

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

import numpy as np
import torch
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from torch import Tensor
from torchvision import io

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
# The formats behind those names and no others: Pillow also knows formats that start other programs (EPS: Ghostscript).
# JPEG includes the two-picture files of some cameras (MPO). Imported here, as Pillow imports plugins on demand and
# several threads at once are in each other's way there.
_PLUGINS = (
    BmpImagePlugin.BmpImageFile,
    GifImagePlugin.GifImageFile,
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    TiffImagePlugin.TiffImageFile,
    WebPImagePlugin.WebPImageFile,
)
_FORMATS = tuple(plugin.format for plugin in _PLUGINS)
MAX_PIXELS = 89_478_485  # where Pillow itself begins to warn: 256 MiB of RGB
ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_TILE = (322, 323)  # TIFF tags: width and length
# Announced in 0.29 to go some day; without it Pillow decodes, to the same bits.
_DECODE_JPEG: Callable[..., Tensor] | None = getattr(io, "decode_jpeg", None)

# The limit is checked below before any pixel is decoded, and ends in an error instead of a warning nobody reads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Garbled EXIF and the like: what matters is an error too, and the rest has no file's name in it.
warnings.filterwarnings("ignore", module=r"PIL\..*")
warnings.filterwarnings("ignore", message="The image decoding and encoding capabilities of TorchVision")


class Encoded:
    """A picture file's content that was read before, from a shard.

    Args:
        name: What a person calls it.
        content: Of the file.
    """

    def __init__(self, name: str, content: bytes) -> None:
        self.name, self.content = name, content

    def __str__(self) -> str:
        return self.name


Picture = str | Path | Encoded  # where a picture's bytes are


@contextlib.contextmanager
def opened(path: Picture, max_pixels: int) -> Iterator[Image.Image]:
    """Open a picture, reading only its header. Raises what Pillow raises, and ValueError for too many pixels."""
    # An open file, not a path: given a path, Pillow 13 maps uncompressed TIFFs with sides swapped when EXIF turns them.
    # Path.open is slower than open.
    with BytesIO(path.content) if isinstance(path, Encoded) else open(path, "rb") as file:  # noqa: PTH123
        try:
            image = Image.open(file, formats=_FORMATS)
        except Image.DecompressionBombError:
            raise ValueError(f"it claims more than {max_pixels:,} pixels (--data.max_pixels)") from None
        width, height = image.size
        if width * height > max_pixels:
            raise ValueError(f"it claims {width} x {height} pixels, more than {max_pixels:,} (--data.max_pixels)")
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # a tile may claim more pixels than the picture has
            tile = math.prod(int(image.tag_v2.get(tag, 0)) for tag in _TILE)
            if tile > max_pixels:
                raise ValueError(f"it claims a tile of {tile:,} pixels, more than {max_pixels:,} (--data.max_pixels)")
        yield image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as 8-bit grey. Pillow's own conversion clips at 255 and gives a white picture."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError(f"its pixels are of type {image.mode!r} with no known range: save it with 8 or 16 bits")
    wide = np.asarray(image).astype(np.int64)  # mode I is how some Pillow versions open a 16-bit PNG
    return Image.fromarray(((wide * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8))


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Return the picture in mode L or RGB; transparency is laid over white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode:
        return image
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")  # palettes and CMYK have no direct way to grey
    return image.convert(mode)


def upright(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ORIENTATION, 1) in (0, 1)
    except Exception:  # garbled EXIF raises all sorts of things, and is no reason to refuse the pixels
        return True


def upright_image(image: Image.Image) -> Image.Image:
    return image if upright(image) else ImageOps.exif_transpose(image)


def pixels_of(image: Image.Image, channels: int, drafted: bool = False) -> np.ndarray:
    """Return the whole picture upright, uint8 (height, width, channels); ``drafted`` if it is not of its own size."""
    if (
        isinstance(image, JpegImagePlugin.JpegImageFile)
        and image.format == "JPEG"  # not MPO
        and image.mode in ("L", "RGB")
        and not drafted
        and upright(image)
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
    """Decode an opened JPEG by torchvision, to its own channels; None: that failed, and Pillow has the say."""
    if _DECODE_JPEG is None or image.fp is None:
        return None
    image.fp.seek(0)
    content = torch.frombuffer(bytearray(image.fp.read()), dtype=torch.uint8)
    try:
        decoded = _DECODE_JPEG(content, io.ImageReadMode.GRAY if image.mode == "L" else io.ImageReadMode.RGB)
    except RuntimeError:
        return None
    return decoded.permute(1, 2, 0).numpy()
