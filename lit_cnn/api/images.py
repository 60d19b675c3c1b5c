"""Files, PIL images and arrays in memory as a data set for prediction."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lit_cnn.data import Images
from lit_cnn.data.decoding.bands import PHOTO
from lit_cnn.data.decoding.decode import failure_reason
from lit_cnn.data.decoding.formats import EncodedImage, ImageFile
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.split import Split
from lit_cnn.errors import UserError

ImageLike = str | os.PathLike[str] | Image.Image | np.ndarray
ONE_IMAGE = (str, bytes, bytearray, os.PathLike, Image.Image, np.ndarray, Tensor, Mapping)
# Modes of PIL that PNG has; CMYK is saved as TIFF, and these are converted without loss of what a model would see.
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
CONVERTED = {
    "HSV": "RGB",
    "LAB": "RGB",
    "YCbCr": "RGB",
    "RGBX": "RGB",
    "La": "LA",
    "RGBa": "RGBA",
    "PA": "RGBA",
}


def as_list(images: Any) -> list[Any]:
    """One image or several, as a list."""
    return [images] if isinstance(images, ONE_IMAGE) or not isinstance(images, Iterable) else list(images)


class GivenImages(Images, listed=False):
    """Files, PIL images and arrays as a data set without labels."""

    def __init__(self, images: Sequence[ImageLike], **kwargs: Any) -> None:
        files: list[ImageFile] = []
        for number, image in enumerate(images):
            if isinstance(image, (str, os.PathLike)):
                files += Images(paths=[os.fspath(image)]).all_paths()[1]
            else:
                files.append(_encoded(image, f"image {number}", kwargs.get("channels", 3)))
        super().__init__(paths=[str(file) for file in files], **kwargs)
        self._files = files

    @cached_property
    def _found(self) -> list[str]:
        return self.paths  # found by the constructor

    def fingerprint(self) -> str:
        """Return nothing: it identifies data to train on, and here there is none."""
        return ""

    def build_splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return all images as "test"."""
        targets = torch.full((len(self._files),), -1, dtype=torch.int64)
        source = _GivenSource(Path(), self.paths, targets, self._geometry(), self.augment, self.seed)
        source.files = self._files
        return {"test": Split(source, torch.arange(len(targets)))}


class _GivenSource(FileSource):
    files: list[ImageFile]

    def image_file(self, index: int) -> ImageFile:
        return self.files[index]


def _encoded(image: Any, name: str, channels: int) -> EncodedImage:
    """The image as the bytes of a lossless file, so that it takes the same way as any other file."""
    if isinstance(image, np.ndarray) and channels not in PHOTO:
        content = BytesIO()
        np.save(content, image, allow_pickle=False)
        return EncodedImage(name, content.getvalue())
    if isinstance(image, np.ndarray):
        shape = image.shape
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and shape[2] not in (1, 3, 4)):
            raise UserError(
                f"{name} is a {image.dtype} array of shape {shape}: give uint8 (H, W) or (H, W, C) with C of 1, 3 or 4"
            )
        if 0 in shape:
            raise UserError(f"{name} is an array of shape {shape}: it has no pixels")
        image = Image.fromarray(image[:, :, 0] if image.ndim == 3 and shape[2] == 1 else image)
    elif not isinstance(image, Image.Image):
        raise UserError(f"{name} is of type {type(image).__name__}: give a path, a PIL image or a NumPy array")
    if 0 in image.size:
        raise UserError(f"{name} is a PIL image of size {image.size}: it has no pixels")
    content = BytesIO()
    try:
        exif = image.getexif()
        image = _storable(image, name)
        image.save(content, "PNG" if image.mode in PNG_MODES else "TIFF", exif=exif)
    except UserError:
        raise
    except Exception as error:  # a closed image, or a damaged file that is decoded now: Pillow raises almost anything
        raise UserError(f"cannot read {name}, a PIL image: {failure_reason(error)}") from error
    return EncodedImage(name, content.getvalue())


def _storable(image: Image.Image, name: str) -> Image.Image:
    """The image in a mode that a file format has."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # 16-bit grey
        return Image.fromarray(np.asarray(image).clip(0, 65535).astype(np.uint16))
    if image.mode in CONVERTED:
        return image.convert(CONVERTED[image.mode])
    if image.mode not in (*PNG_MODES, "CMYK"):
        raise UserError(
            f"{name} is a PIL image of mode {image.mode}, whose values have no known range: scale them to 0 … 255 and "
            "convert it to L or RGB"
        )
    return image
