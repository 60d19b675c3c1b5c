"""A served model for tests, and pictures of many kinds."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from lit_cnn.serve.app import ModelFacts, build_app
from lit_cnn.serve.limits import Limits
from lit_cnn.serve.models import Answer, ServedModel, Uploads

LOCAL = "http://127.0.0.1"


class Brightness:
    """A model that decodes as all others do, and answers the mean of the pixels."""

    class_names, multilabel, why_no_heat_map = ["dark", "bright"], False, "it has no network"
    why_none_near = "it has no pictures"

    def __init__(self, max_pixels: int = 1_000_000) -> None:
        names, mean = self.class_names, [0.5] * 3
        self.uploads = Uploads(image_size=8, channels=3, mean=mean, std=mean, class_names=names, max_pixels=max_pixels)
        self.sizes: list[int] = []  # of the batches

    def decode(self, content: bytes) -> np.ndarray:
        return self.uploads.decode(content)

    def answer(self, images: Sequence[np.ndarray]) -> list[Answer]:
        self.sizes.append(len(images))
        shares = [round(float(image.mean()) / 255, 6) for image in images]
        return [
            {"predicted": self.class_names[share > 0.5], "probabilities": {"dark": 1 - share, "bright": share}}
            for share in shares
        ]

    def nearest(self, image: np.ndarray) -> list[Answer]:
        raise AssertionError

    def explain(self, image: np.ndarray, label: int) -> Answer:
        raise AssertionError


def client_of(model: ServedModel, base_url: str = LOCAL, **limits: Any) -> TestClient:
    """A client of an application that serves a model."""
    facts = ModelFacts(
        "tiny", "lenet", model.class_names, model.multilabel, model.why_no_heat_map, model.why_none_near, 1, 1
    )
    app, _ = build_app(model, Limits(**limits), facts)
    return TestClient(app, base_url=base_url)


def picture(kind: str = "PNG", colour: tuple[int, ...] = (200, 10, 10), size: tuple[int, int] = (12, 10)) -> bytes:
    """An image file of one colour."""
    content = io.BytesIO()
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(content, kind)
    return content.getvalue()


def png_bomb(side: int = 30_000) -> bytes:
    """A PNG of 130 kB whose header claims, and whose data hold, so many pixels a side."""
    row = b"\0" + bytes(side // 8 + 1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(row * 1000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def write_kinds(folder: Path) -> list[Path]:
    """Pictures that are decoded in different ways: turned by EXIF, transparent, grey, with a palette, of 16 bits."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    colours = Image.fromarray(rng.integers(0, 256, (30, 41, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    colours.save(folder / "turned.jpg", exif=exif, quality=95)
    colours.save(folder / "plain.jpg", quality=95)
    colours.resize((300, 20)).save(folder / "wide.webp")
    alpha = Image.fromarray(rng.integers(0, 256, (25, 25, 4), np.uint8))
    alpha.save(folder / "transparent.png")
    colours.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.gif")
    colours.convert("L").save(folder / "grey.bmp")
    Image.fromarray(rng.integers(0, 65536, (20, 20), np.uint16)).save(folder / "deep.png")
    colours.convert("CMYK").save(folder / "print.tif")
    return sorted(folder.iterdir())
