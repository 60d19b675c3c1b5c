"""Packages of the user's that add models, data sets, losses and transforms: imported for what they register.

Two ways in: a name given by ``--allow_import`` (or :func:`import_plugins`), and an installed distribution with an entry
point in the group ``lit_cnn.plugins``, whose value is the module to import::

    [project.entry-points."lit_cnn.plugins"]
    my_package = "my_package"
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path, PurePath

from lit_cnn.errors import UserError
from lit_cnn.utils.console import say

GROUP = "lit_cnn.plugins"
_NO_PLUGINS = ("lit_cnn", "torch", "torchvision", "timm", "lightning", "functools", "builtins", "__main__")
_LOADED_BY: dict[str, str] = {}  # modules that importing a plugin has loaded, and the plugin
_FAILED: set[str] = set()  # announced modules whose failure has been reported


def announced() -> list[str]:
    """Modules that installed distributions announce by an entry point."""
    return sorted(_distributions())


def _distributions() -> dict[str, str]:
    """Announced modules, and the distribution of each."""
    return {
        re.split(r"[\s:\[]", entry.value.strip())[0]: entry.dist.name if entry.dist is not None else entry.name
        for entry in entry_points(group=GROUP)
    }


def import_plugins(names: Sequence[str] = ()) -> None:
    """Import what installed distributions announce, then packages or modules by name.

    An announced module that cannot be imported is skipped with a warning.

    Args:
        names: installed ones, or files and packages of the working directory.

    Raises:
        UserError: a name is no module's, there is no such module, or its import fails.
    """
    for name, distribution in sorted(_distributions().items()):
        if name in _FAILED:
            continue
        try:
            _import(name, f"the installed package {distribution} (entry point {name} in the group {GROUP})")
        except UserError as error:
            _FAILED.add(name)
            say(f"warning: skipped {error}; upgrade {distribution}, or uninstall it", error=True)
    for name in names:
        _check_name(name)
        _find(name)
        _import(name, f"`allow_import={name}`")


def _check_name(name: str) -> None:
    """Refuse what is not a module's name, with the name that may be meant."""
    example = "give a package or module by name, such as mypackage.callbacks"
    if not name.strip():
        raise UserError(f"`allow_import` is empty: {example}")
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        path = PurePath(name.strip(" ,"))
        parts = [*path.parent.parts, path.name.removesuffix(".py").replace("-", "_")]
        meant = ".".join(parts)
        if not path.is_absolute() and all(part.isidentifier() for part in meant.split(".")):
            example = f"it takes the name of a package or module, did you mean `allow_import={meant}`?"
        raise UserError(f"`allow_import={name}`: {example}")
    if name.partition(".")[0] == "jsonargparse":
        raise UserError("`allow_import=jsonargparse`: the parser itself cannot be allowed, it guards the others")


def _find(name: str) -> None:
    """Let a module of the working directory be found, behind all that is installed.

    Raises:
        UserError: there is none, or a module of the standard library hides it.
    """
    top, here = name.partition(".")[0], Path.cwd()
    local = [path for path in (here / top / "__init__.py", here / f"{top}.py") if path.exists()]
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # __main__ has no spec
        return
    if spec is None:
        if not local and not (here / top).is_dir():
            raise UserError(f"`allow_import={name}`: there is no package {top}, neither installed nor in this folder")
        sys.path.append(str(here))
        importlib.invalidate_caches()
    elif local and not any(Path(spec.origin or "").resolve() == path.resolve() for path in local):
        hidden = f"{local[0].relative_to(here)} of this folder is hidden by the"
        if top in sys.stdlib_module_names:
            raise UserError(f"`allow_import={name}`: {hidden} module {top} of Python itself: rename yours")
        say(f"note: `allow_import={name}`: {hidden} installed {spec.origin}: rename yours if it is meant", error=True)


def _import(name: str, source: str) -> None:
    before = set(sys.modules)
    try:
        module = importlib.import_module(name)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except SystemExit as error:
        raise UserError(f"{source}: it ends the program (sys.exit) when it is imported") from error
    except Exception as error:  # a user's module may raise anything
        line = (str(error).strip() or "no message").splitlines()[0]
        raise UserError(f"{source}: importing it failed with {type(error).__name__}: {line}") from error
    if hasattr(module, "__path__") and getattr(module, "__file__", None) is None:
        say(f"note: {source}: {name} has no __init__.py, so that nothing in it is imported or registered", error=True)
    for loaded in set(sys.modules) - before:
        _LOADED_BY.setdefault(loaded, name)


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
