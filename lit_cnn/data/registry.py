"""Registry of data sets by class name: what ``data`` takes in a config and on the command line.

``ImageDataModule.__init_subclass__`` registers every subclass when its module is imported, a user's own ones too.
"""

from __future__ import annotations

import inspect

from lit_cnn.errors import UserError

_CLASSES: dict[str, type] = {}
_UNLISTED: set[str] = set()


def register(cls: type, listed: bool) -> None:
    """Add a class under its name. Classes defined in a function are skipped, since no config could name them.

    Args:
        cls: Subclass of ImageDataModule.
        listed: Whether :func:`datasets` returns it.

    Raises:
        UserError: Another class has that name.
    """
    if "<locals>" in cls.__qualname__ or cls.__name__.startswith("_"):
        return
    before = _CLASSES.get(cls.__name__)
    # A reloaded module replaces its own classes.
    if before is not None and (before.__module__, before.__qualname__) != (cls.__module__, cls.__qualname__):
        raise UserError(
            f"there is a data set {cls.__name__!r} already, in {before.__module__}: give your class in "
            f"{cls.__module__} another name"
        )
    _CLASSES[cls.__name__] = cls
    if not listed:
        _UNLISTED.add(cls.__name__)


def datasets() -> dict[str, type]:
    """Return the data sets that ``data`` takes, by name and sorted by it: no abstract and no internal classes."""
    # Abstract methods are known only after __init_subclass__, hence not in register.
    return {
        name: cls for name, cls in sorted(_CLASSES.items()) if name not in _UNLISTED and not inspect.isabstract(cls)
    }


def find_dataset(name: str) -> type | None:
    """Return the class of a data set by name or class path (internal ones too), or None."""
    found = _CLASSES.get(name.rpartition(".")[2])
    same_package = found is not None and found.__module__.partition(".")[0] == name.partition(".")[0]
    return found if "." not in name or same_package else None


def canonical_path(class_path: str) -> str:
    """Return the class path that configs and checkpoints hold: ``lit_cnn.data.NAME`` for lit_cnn's own data sets.

    The parser writes the shortest one, which is ``lit_cnn.NAME``.
    """
    top, _, name = class_path.rpartition(".")
    return f"lit_cnn.data.{name}" if top == "lit_cnn" and name in _CLASSES else class_path
