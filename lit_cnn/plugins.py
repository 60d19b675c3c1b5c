"""Packages of the user's that add models, data sets, losses and transforms: imported for what they register.

Two ways in: a name given by ``--allow_import`` (or :func:`import_plugins`), and an installed distribution with an entry
point in the group ``lit_cnn.plugins``, whose value is the module to import::

    [project.entry-points."lit_cnn.plugins"]
    my_package = "my_package"
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from lit_cnn.errors import UserError

GROUP = "lit_cnn.plugins"
_NO_PLUGINS = ("lit_cnn", "torch", "torchvision", "timm", "lightning", "functools", "builtins", "__main__")
_LOADED_BY: dict[str, str] = {}  # modules that importing a plugin has loaded, and the plugin


def announced() -> list[str]:
    """Modules that installed distributions announce by an entry point."""
    return sorted({entry.module for entry in entry_points(group=GROUP)})


def import_plugins(names: Sequence[str] = ()) -> None:
    """Import what installed distributions announce, then packages or modules by name.

    Args:
        names: installed ones, or files and packages of the working directory.

    Raises:
        UserError: a name is no module's, there is no such module, or its import fails.
    """
    for name in announced():
        _import(name, f"the entry point {name} in the group {GROUP}")
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UserError(f"`allow_import={name}`: give a package or module by name, such as mypackage.callbacks")
        if name.partition(".")[0] == "jsonargparse":
            raise UserError("`allow_import=jsonargparse`: the parser itself cannot be allowed, it guards the others")
        _find(name)
        _import(name, f"`allow_import={name}`")


def _find(name: str) -> None:
    """Let a module of the working directory be found, behind all that is installed."""
    top, here = name.partition(".")[0], Path.cwd()
    if importlib.util.find_spec(top) is not None:
        return
    if not any((here / f"{top}{end}").exists() for end in (".py", "/__init__.py")):
        raise UserError(f"`allow_import={name}`: there is no package {top}, neither installed nor in this folder")
    sys.path.append(str(here))
    importlib.invalidate_caches()


def _import(name: str, source: str) -> None:
    before = set(sys.modules)
    try:
        importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:  # a user's module may raise anything
        line = (str(error).strip() or "no message").splitlines()[0]
        raise UserError(f"{source}: importing it failed with {type(error).__name__}: {line}") from error
    for module in set(sys.modules) - before:
        _LOADED_BY.setdefault(module, name)


def provider(module: str) -> str | None:
    """The plugin that a module belongs to, by its name for :func:`import_plugins`.

    Args:
        module: ``__module__`` of what was registered: the plugin itself, a module inside it, or one that it imports.

    Returns:
        ``None`` for modules of lit_cnn and other libraries, and for ``__main__``, which nobody could import.
    """
    top = module.partition(".")[0]
    if top in _NO_PLUGINS:
        return None
    return _LOADED_BY.get(module, top)  # a Python caller may have imported it
