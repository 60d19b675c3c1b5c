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
