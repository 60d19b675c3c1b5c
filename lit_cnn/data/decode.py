"""From a picture file to uint8 pixels of the size and channels a model expects.

Pillow reads headers and every format but the usual JPEG, whose pixels torchvision decodes: the same bits (both are
libjpeg-turbo), in less than half the time. Training crops of colour pictures are resized by torch, whose kernel for
bytes takes a third of Pillow's time and differs from it by at most 1 of 255; evaluation resizes with Pillow, exactly
as torchvision's transforms of PIL images do.
"""

from __future__ import annotations

import contextlib
import errno
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
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

from lit_cnn.data.crashes import named_in_crashes
from lit_cnn.data.draws import crop_boxes
from lit_cnn.errors import UserError

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
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_TILE = (322, 323)  # TIFF tags: width and length
# Announced in 0.29 to go some day; without it Pillow decodes, to the same bits.
_DECODE_JPEG: Callable[..., Tensor] | None = getattr(io, "decode_jpeg", None)

# The limit is checked below before any pixel is decoded, and ends in an error instead of a warning nobody reads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Garbled EXIF and the like: what matters is an error too, and the rest has no file's name in it.
warnings.filterwarnings("ignore", module=r"PIL\..*")
warnings.filterwarnings("ignore", message="The image decoding and encoding capabilities of TorchVision")
# Troubles of this process and not of a file.
_OWN_TROUBLES = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


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


@contextlib.contextmanager
def _opened(path: Picture, max_pixels: int) -> Iterator[Image.Image]:
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


def _to_channels(image: Image.Image, channels: int) -> Image.Image:
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


def _upright(image: Image.Image) -> bool:
    try:
        return image.getexif().get(_ORIENTATION, 1) in (0, 1)
    except Exception:  # garbled EXIF raises all sorts of things, and is no reason to refuse the pixels
        return True


def _upright_image(image: Image.Image) -> Image.Image:
    return image if _upright(image) else ImageOps.exif_transpose(image)


def _pixels(image: Image.Image, channels: int, drafted: bool = False) -> np.ndarray:
    """Return the whole picture upright, uint8 (height, width, channels); ``drafted`` if it is not of its own size."""
    if (
        isinstance(image, JpegImagePlugin.JpegImageFile)
        and image.format == "JPEG"  # not MPO
        and image.mode in ("L", "RGB")
        and not drafted
        and _upright(image)
    ):
        pixels = _jpeg_pixels(image)
        if pixels is not None and pixels.shape[2] == channels:
            return pixels
        if pixels is not None:
            image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    else:
        image = _upright_image(image)
    pixels = np.asarray(_to_channels(image, channels), dtype=np.uint8)
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
    with _opened(path, geometry.max_pixels) as image:
        if crop is not None:
            return _random_crop(image, geometry, crop, scale, ratio)
        pixels = _pixels(image, geometry.channels)
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
    if not _upright(image) and image.getexif()[_ORIENTATION] >= 5:  # it lies on its side
        width, height = height, width
    top, left, h, w = crop_boxes(crop[:, None], height, width, scale, ratio)[0].tolist()
    if not _draft(image, min(h, w), geometry.size, (8, 4)):  # by 2 is no faster than all of it by _pixels
        return crop_resized(_pixels(image, geometry.channels), (top, left, h, w), geometry.size)
    image = _upright_image(image)
    x, y = image.size[0] / width, image.size[1] / height
    box = (left * x, top * y, min((left + w) * x, image.size[0]), min((top + h) * y, image.size[1]))
    image = _to_channels(image, geometry.channels)
    pixels = np.asarray(image.resize((geometry.size,) * 2, Image.Resampling.BILINEAR, box=box))  # between pixels
    return pixels[None] if geometry.channels == 1 else pixels.transpose(2, 0, 1)


def _decode_bounded(path: Picture, geometry: Geometry, short: int) -> np.ndarray:
    with _opened(path, geometry.max_pixels) as image:
        drafted = _draft(image, min(image.size), geometry.size, (8, 4, 2))  # by 2 spares the resizing
        pixels = _pixels(image, geometry.channels, drafted)
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
    with _opened(path, max_pixels) as image:
        image.load()
        _to_channels(image, 3)
