"""Geometry: the size of the images that a model takes, and how an image of any size and aspect ratio becomes one.

Evaluation resizes with Pillow, exactly as torchvision's transforms of PIL images do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lit_cnn.data.decoding.formats import MAX_PIXELS
from lit_cnn.errors import UserError

Size = int | tuple[int, int]  # side of a square image, or (height, width), in pixels
# Sizes in pixels of a resized image from which only its part in the crop is made: above _LARGE, for images more than
# _LONGEST times as long as wide; above _LARGEST, for all.
_LARGE, _LONGEST, _LARGEST = 2**24, 64, 2**27
PADDING = (124, 116, 104)  # ImageNet's mean colour, of which letterbox's borders are
GREY_PADDING = 114  # its mean over the channels


def parse_size(value: Any, setting: str = "data.image_size") -> Size:
    """Return a size as it is stored: an int for a square, else (height, width).

    Args:
        value: A whole number, or two of them.
        setting: Its name, for the message.

    Raises:
        UserError: It is neither, or below 1 pixel.
    """
    pair = list(value) if isinstance(value, (list, tuple)) else [value]
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in pair)
    if not whole or len(pair) not in (1, 2) or (len(pair) == 1 and isinstance(value, (list, tuple))):
        raise UserError(f"`{setting}` is {value!r}: give one number, or height and width such as [96, 128]")
    if min(pair) < 1:
        raise UserError(f"`{setting}` is {value}: it must be at least 1 pixel")
    return int(pair[0]) if len(set(pair)) == 1 else (int(pair[0]), int(pair[1]))


def plain(size: Size) -> int | list[int]:
    """Return a size as plain types, for a checkpoint."""
    return size if isinstance(size, int) else list(size)


def height_width(size: Size) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


@dataclass(frozen=True, repr=False)
class Geometry:
    """How an image of any size becomes (channels, height, width).

    Args:
        size: Height and width of the result, in pixels; an int for a square.
        channels: 1 (grey), 3 (RGB), or the number of bands.
        eval_resize: ``center_crop``: the image is resized to cover ``size / eval_crop``, then the centre is cropped.
            ``stretch``: both sides become those of ``size``, whatever the aspect ratio. ``letterbox``: it is resized to
            fit into ``size``, and the borders on two sides become ImageNet's mean colour.
        eval_crop: Share of the shorter side that ``center_crop`` keeps.
        max_pixels: Larger images are refused by their header, before decoding.
        value_range: Values that become 0 and 255, of images that are not of 8 bits; None: those of their type.
    """

    size: Size
    channels: int
    eval_resize: str = "center_crop"
    eval_crop: float = 0.875
    max_pixels: int = MAX_PIXELS
    value_range: tuple[float, float] | None = None

    @property
    def height(self) -> int:
        """Of the result, in pixels."""
        return height_width(self.size)[0]

    @property
    def width(self) -> int:
        """Of the result, in pixels."""
        return height_width(self.size)[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the result."""
        return self.channels, self.height, self.width

    def __repr__(self) -> str:
        # Part of the key of cached pixels: these words must not change, nor get longer where a setting is not used.
        ranged = "" if self.value_range is None else f", value_range={self.value_range}"
        return (
            f"Geometry(size={self.size}, channels={self.channels}, eval_resize={self.eval_resize!r}, "
            f"eval_crop={self.eval_crop}, max_pixels={self.max_pixels}{ranged})"
        )


def to_size(pixels: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Resize uint8 (H, W, C) for evaluation, by ``geometry.eval_resize``, to uint8 (C, height, width)."""
    # Pillow resizes every channel by itself, so that of more than three each may be an image.
    planes = [pixels] if pixels.shape[2] == 3 else [pixels[:, :, i] for i in range(pixels.shape[2])]
    done = [np.asarray(_resize(Image.fromarray(plane), geometry), dtype=np.uint8) for plane in planes]
    return np.stack(done) if done[0].ndim == 2 else done[0].transpose(2, 0, 1)


def _resize(image: Image.Image, geometry: Geometry) -> Image.Image:
    size = geometry.height, geometry.width
    if geometry.eval_resize == "stretch":
        return stretch(image, size)
    if geometry.eval_resize == "letterbox":
        return letterbox(image, size)
    return center_crop(image, size, geometry.eval_crop)


def stretch(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (height, width), whatever the aspect ratio: torchvision's Resize of both sides."""
    height, width = size
    if image.height * width > _LARGE:  # Pillow would first make it as wide as the result, in its full height
        image = image.resize((image.width, height), Image.Resampling.BILINEAR)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def letterbox(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to fit into (height, width) and pad both sides alike: Pillow's ImageOps.pad, for images of any shape."""
    height, width = size
    scale = min(height / image.height, width / image.width)
    inner = min(height, max(1, round(image.height * scale))), min(width, max(1, round(image.width * scale)))
    fitted = stretch(image, inner)
    if inner == size:
        return fitted
    padded = Image.new(image.mode, (width, height), PADDING if image.mode == "RGB" else GREY_PADDING)
    padded.paste(fitted, (round((width - inner[1]) / 2), round((height - inner[0]) / 2)))
    return padded


def center_crop(image: Image.Image, size: tuple[int, int], share: float) -> Image.Image:
    """Resize the image to cover ``size / share`` and crop the centre: torchvision's Resize and CenterCrop."""
    width, height = image.size
    tall, wide = (max(side, round(side / share)) for side in size)
    if width * tall <= height * wide:
        width, height = wide, int(wide * height / width)
    else:
        width, height = int(tall * width / height), tall
    top, left = round((height - size[0]) / 2.0), round((width - size[1]) / 2.0)
    if width * height > min(max(_LARGE, _LONGEST * tall * wide), _LARGEST):
        return _resize_centre(image, (width, height), (left, top), (size[1], size[0]))
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return image.crop((left, top, left + size[1], top + size[0]))


def _resize_centre(
    image: Image.Image, full: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> Image.Image:
    """A part of the image resized to ``full``, which itself is never made; its values differ by rounding alone.

    Args:
        image: of any size.
        full: width and height of the resized image.
        corner: left and top of the part in it.
        size: width and height of the part.
    """
    around, box = [], []
    for length, to, start, side in zip(image.size, full, corner, size, strict=True):
        scale = length / to
        reach = max(scale, 1.0) + 1  # of the filter
        first, last = start * scale, min((start + side) * scale, length)
        around.append((max(0, math.floor(first - reach)), min(length, math.ceil(last + reach))))
        box.append((first - around[-1][0], last - around[-1][0]))
    # Near the origin, since Pillow keeps the corners of the box in single precision.
    part = image.crop((around[0][0], around[1][0], around[0][1], around[1][1]))
    corners = (box[0][0], box[1][0], box[0][1], box[1][1])
    return part.resize(size, Image.Resampling.BILINEAR, box=corners)
