"""Small pictures of image files, as addresses that hold them: for pages that need no other file."""

from __future__ import annotations

import base64
import io
from pathlib import Path

SIDE = 170  # pixels


def file_picture(path: Path) -> str:
    """Return a small JPEG of an image file as ``data:image/jpeg;base64,...``, or "" where it cannot be read."""
    from PIL import Image, ImageOps  # here, since most callers show none

    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((SIDE, SIDE))
            content = io.BytesIO()
            small.save(content, "JPEG", quality=80)
    except Exception:  # whatever a decoder raises for a broken file
        return ""
    return png_address(content.getvalue(), "jpeg")


def png_address(content: bytes, kind: str = "png") -> str:
    """Return the bytes of an image file as an address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
