"""Image folders to train on: flags, and files of every kind, good and bad."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import write_pictures

FIT = ["--data=ImageFolder", "--data-dir=set", "--data.image_size=28", "--data.channels=3", "--batch-size=8"]
FIT += ["--model.backbone=lenet_maxpool", "--epochs=1", "--trainer.enable_progress_bar=false"]
DATA = [flag for flag in FIT if flag.startswith("--data")]


def png(width: int, height: int) -> bytes:
    """A PNG of a kilobyte whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    body = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 2**31, 0, 0, 54) + body + bytes(100)


def gif(width: int, height: int) -> bytes:
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def tiff(width: int, height: int) -> bytes:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 100)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)


def tiled_tiff(width: int, height: int) -> bytes:
    """A TIFF of 16 x 16 pixels in a tile that claims any size."""
    content = zlib.compress(bytes(1001)).ljust(20)
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags += [(322, width), (323, height), (324, 8), (325, len(content))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 28) + content + struct.pack("<H", len(tags)) + entries + bytes(4)


BOMBS = {
    "bomb.png": png(60_000, 60_000),
    "just too large.png": png(10_000, 10_000),
    "bomb.bmp": bmp(50_000, 50_000),
    "bomb.gif": gif(65_535, 65_535),
    "bomb.tif": tiff(60_000, 60_000),
    "bomb in a tile.tif": tiled_tiff(40_000, 40_000),
}


def write_good(folder: Path) -> list[str]:
    """One image of each kind that must be read correctly; returns their names."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 43, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = rgb.quantize(8)
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40).save(folder / "sixteen bits.png")
    palette.save(folder / "palette.png", transparency=3)
    palette.save(folder / "animated.gif", transparency=3, save_all=True, append_images=[rgb.quantize(4)])
    rgb.save(folder / "animated.png", save_all=True, append_images=[rgb])
    rgb.convert("RGBA").save(folder / "transparent.webp")
    rgb.save(folder / "turned.jpg", exif=exif)
    rgb.save(folder / "really a png.jpg", format="PNG")
    return sorted(path.name for path in folder.iterdir())


def write_bad(folder: Path) -> list[str]:
    """One file of each kind that cannot be shown; returns their names."""
    Image.effect_noise((60, 60), 80).convert("RGB").save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").unlink()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    (folder / "float.tif").write_bytes(b"")
    Image.fromarray(np.ones((8, 8), np.float32)).save(folder / "float.tif")
    (folder / "bomb.png").write_bytes(BOMBS["bomb.png"])
    return ["bomb.png", "circle.jpg", "cut.jpg", "dangling.jpg", "empty.png", "float.tif", "text.jpg"]


def write_set(counts: dict[str, int]) -> None:
    """Write an image folder ``set`` of ``{"train/cat": 3, ...}`` into the working directory."""
    for name, count in counts.items():
        write_pictures(Path("set", name), count)
