"""One pass over image files: what ``lit-cnn check`` needs to know of each, cached until the file changes."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lit_cnn.data.decoding.decode import failure_reason
from lit_cnn.data.decoding.formats import EncodedImage, is_upright, open_image
from lit_cnn.data.quality.thumbnails import SIDE, grey
from lit_cnn.errors import UserError
from lit_cnn.utils.console import Display
from lit_cnn.utils.files import atomic_write, cache_folder, digest

log = logging.getLogger(__name__)

_VERSION = 1  # of the cache; raise it when anything below changes
_AT_ONCE = 1024
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
}


@dataclass(frozen=True)
class Scanned:
    """What is known of one image.

    Attributes:
        content: Hash of the file's bytes, or of the pixels.
        width: Pixels, upright or not, as the header has it.
        height: Pixels.
        mode: Of Pillow, such as "RGB", "L", "CMYK".
        format: Of Pillow, such as "JPEG".
        broken: Why it cannot be read; empty where it can.
        odd: What is unusual about it; empty for most.
        thumb: uint8 (32, 32), grey; zeros for a broken one.
    """

    content: str
    width: int
    height: int
    mode: str
    format: str
    broken: str
    odd: str
    thumb: np.ndarray


def scan_file(path: Path, max_pixels: int) -> Scanned:
    """Read one file, once, and decode all of it."""
    nothing = np.zeros((SIDE, SIDE), np.uint8)
    try:
        content = path.read_bytes()
    except OSError as error:
        return Scanned("", 0, 0, "", "", failure_reason(error), "", nothing)
    key = hashlib.blake2b(content, digest_size=16).hexdigest()
    try:
        with open_image(EncodedImage(str(path), content), max_pixels) as image:
            width, height = image.size
            odd = _oddities(path, image)
            mode, kind = image.mode, image.format or ""
            if kind == "JPEG":  # all of it, since a draft stops early where the file is damaged
                image.load()
            return Scanned(key, width, height, mode, kind, "", odd, grey(image))
    except Exception as error:  # decoders raise almost anything on damaged files
        return Scanned(key, 0, 0, "", "", failure_reason(error), "", nothing)


def _oddities(path: Path, image: Image.Image) -> str:
    found, (width, height) = [], image.size
    kind = image.format or ""
    if kind in _SUFFIXES and path.suffix.lower() not in _SUFFIXES[kind]:
        found.append(f"{kind} called {path.suffix}")
    if image.mode in ("CMYK", "I;16", "I", "F", "LA", "RGBA", "PA") or "transparency" in image.info:
        found.append("transparency" if "A" in image.mode or "transparency" in image.info else f"mode {image.mode}")
    if getattr(image, "n_frames", 1) > 1 and kind in ("GIF", "WEBP", "PNG", "TIFF"):
        found.append("several frames, of which the first is used")
    if not is_upright(image):
        found.append("turned by EXIF")
    if min(width, height) < 32:
        found.append(f"only {width} x {height} pixels")
    if max(width, height) > 4 * min(width, height):
        found.append(f"{width} x {height}: more than 4 times as long as wide")
    return ", ".join(found)


def scan_files(
    root: Path, paths: Sequence[str], max_pixels: int, workers: int, display: Display | None
) -> list[Scanned]:
    """Scan files with several threads; unchanged ones are taken from the cache.

    Args:
        root: Folder that the paths are relative to.
        paths: Of the files.
        max_pixels: Files whose header claims more count as broken.
        workers: Threads.
        display: Shows progress once it takes half a second.
    """
    saved: Path | None = None
    with contextlib.suppress(UserError):  # no folder for caches
        saved = cache_folder() / "check" / f"{digest(root.resolve(), max_pixels, _VERSION)}.npz"
    known = _load(saved)
    stats = [_stat(root / path) for path in paths]
    found: dict[str, Scanned] = {
        path: known[path][1]
        for path, stat in zip(paths, stats, strict=True)
        if path in known and known[path][0] == stat
    }
    todo = [path for path in paths if path not in found]
    shown = time.monotonic() + 0.5
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="lit_cnn-check") as pool:
        for first in range(0, len(todo), _AT_ONCE):
            part = todo[first : first + _AT_ONCE]
            for path, scanned in zip(
                part, pool.map(lambda path: scan_file(root / path, max_pixels), part), strict=True
            ):
                found[path] = scanned
                if display is not None and time.monotonic() > shown:
                    display.show("checking images", len(found), len(paths), "")
                    shown = time.monotonic() + 0.2
    if display is not None:
        display.close()
    result = [found[path] for path in paths]
    if todo:
        _save(saved, paths, stats, result)
    return result


def _stat(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


_TEXTS = ("content", "mode", "format", "broken", "odd")


def _load(path: Path | None) -> dict[str, tuple[tuple[int, int], Scanned]]:
    if path is None or not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            part = {name: file[name] for name in file.files}
        names = [name.decode(errors="surrogateescape") for name in part["path"].tobytes().split(b"\0")]
        texts = zip(*(part[name].tolist() for name in _TEXTS), strict=True)
        rows = zip(names, part["stat"].tolist(), part["size"].tolist(), texts, part["thumb"], strict=True)
        return {
            name: ((stat[0], stat[1]), Scanned(text[0], size[0], size[1], text[1], text[2], text[3], text[4], thumb))
            for name, stat, size, text, thumb in rows
        }
    except Exception:  # a damaged cache only costs time
        return {}


def _save(path: Path | None, paths: Sequence[str], stats: Sequence[tuple[int, int]], rows: Sequence[Scanned]) -> None:
    if path is None:
        return
    content = BytesIO()
    texts: Any = {name: np.array([getattr(row, name) for row in rows], dtype=np.str_) for name in _TEXTS}
    np.savez_compressed(
        content,
        path=np.frombuffer("\0".join(paths).encode(errors="surrogateescape"), np.uint8),
        stat=np.array(stats, np.int64),
        size=np.array([(row.width, row.height) for row in rows], np.int64),
        thumb=np.stack([row.thumb for row in rows]),
        **texts,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            file.write(content.getvalue())
    except OSError as error:
        log.info("results of the check could not be saved to %s: %s", path, error)


def scan_arrays(images: np.ndarray) -> list[Scanned]:
    """Scan images in memory, uint8 (N, C, H, W)."""
    found = []
    for pixels in images:
        shown = pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0)
        key = hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).hexdigest()
        height, width = pixels.shape[1:]
        image = Image.fromarray(np.ascontiguousarray(shown))
        found.append(Scanned(key, width, height, image.mode, "", "", "", grey(image)))
    return found
