"""HEIC, JPEG XL, and AVIF before Pillow 11.3: formats that Pillow reads by a plugin, imported when a file needs it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

INSTALL = "pip install 'lit-cnn[formats]'"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_lock = threading.Lock()  # Pillow's registries are not safe to change in several threads at once


@dataclass(frozen=True)
class OptionalFormat:
    """A format, the package of its plugin, and how to recognize its files.

    Attributes:
        name: as Pillow registers it.
        title: for messages.
        package: that is imported.
        extensions: in lower case.
        matches: whether a file begins with these bytes, at least 12.
    """

    name: str
    title: str
    package: str
    extensions: tuple[str, ...]
    matches: Callable[[bytes], bool]


FORMATS = (
    OptionalFormat(
        "HEIF",
        "a HEIC image",
        "pillow_heif",
        (".heic", ".heif", ".hif"),
        lambda head: head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS,
    ),
    OptionalFormat(
        "JXL",
        "a JPEG XL image",
        "pillow_jxl",
        (".jxl",),
        lambda head: head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    ),
    OptionalFormat(
        "AVIF",
        "an AVIF image",
        "pillow_avif",
        (".avif",),
        lambda head: head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"),
    ),
)
SUFFIXES = tuple(suffix for kind in FORMATS for suffix in kind.extensions)
# Of the packages that are there; they are not imported before a file needs them.
INSTALLED = tuple(suffix for kind in FORMATS if find_spec(kind.package) for suffix in kind.extensions)


# Aspect ratios, width to height, that the size in a header of JPEG XL may name instead of the width.
_JXL_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def jxl_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height that the header of a JPEG XL file claims; None where there is no such header.

    Its plugin decodes all pixels before it tells how many there are. ISO/IEC 18181-1, SizeHeader; 18181-2, boxes.
    """
    at = 0
    while content[at : at + 2] != b"\xff\x0a":  # the codestream is in a box of the container
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind in (b"jxlc", b"jxlp"):
            at += 8 + 4 * (kind == b"jxlp") + 8 * (size == 1)
            continue
        if size < 8:
            return None
        at += size
    bits = int.from_bytes(content[at + 2 : at + 16], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    def side(small: int) -> int:
        return 8 * (take(5) + 1) if small else 1 + take((9, 13, 18, 30)[take(2)])

    small = take(1)
    height = side(small)
    ratio = take(3)
    wide, tall = _JXL_RATIOS.get(ratio, (1, 1))
    return (height * wide // tall if ratio else side(small)), height


def register_for(head: bytes) -> str | None:
    """Import the plugin for a file that begins with ``head``; returns Pillow's name of the format, or None.

    Raises:
        ValueError: The file needs a package that is not installed.
    """
    kind = next((kind for kind in FORMATS if kind.matches(head)), None)
    if kind is None:
        return None
    with _lock:
        try:
            plugin = importlib.import_module(kind.package)  # those of JPEG XL and AVIF register themselves
        except ImportError as error:
            raise ValueError(f"it is {kind.title}: {INSTALL}") from error
        if kind.name == "HEIF":
            plugin.register_heif_opener()
    return kind.name
