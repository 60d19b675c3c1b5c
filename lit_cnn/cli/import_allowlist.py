"""The import allowlist: settings may name classes of a few packages, and of those given by ``--allow_import``.

A setting such as ``class_path: os.system`` would otherwise run whatever a stranger's config or checkpoint says.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import set_parsing_settings

from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.config import contents
from lit_cnn.data.registry import datasets
from lit_cnn.errors import UserError

# As narrow as what the Trainer takes needs: all of torch would include functions that run code from files.
ALLOWED = (
    "torch.optim",
    "lightning.Callback",  # the base class, which the parser tries when an option of another one is wrong
    "lightning.pytorch.accelerators",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    "lightning.fabric.plugins",  # home of the cluster environments and checkpoint writers in lightning.pytorch.plugins
    "lit_cnn",
    "torchvision",
    "timm",
)
ALLOWED_IN_WORDS = "torch.optim, Lightning's callbacks, loggers and plugins, lit_cnn, torchvision and timm"
# Functions from here are defaults of the classes beside them.
DEFAULT_FUNCTIONS = "lightning.pytorch.callbacks"
# Settings whose plain text may be a class path; everywhere else it is under the key class_path.
CLASS_SETTINGS = (
    "data",
    *(f"trainer.{name}" for name in ["accelerator", "callbacks", "logger", "plugins", "profiler", "strategy"]),
)
DENIED = re.compile(r"Importing '([\w.]+)' is not allowed")  # the parser's words


class Leaf(NamedTuple):
    """One text in the settings."""

    setting: str  # trainer.callbacks.monitor: without class_path, init_args and list positions
    value: str
    is_class: bool  # whether it has to be a class path


class Fault(NamedTuple):
    """Why a path is refused."""

    what: str  # the path and what is wrong with it
    home: str  # the module to allow


Sources = Mapping[str, Any]  # where settings come from, "a.yaml" or "--data": nested settings


def with_plugins(allow_import: Sequence[str]) -> list[str]:
    """What settings may name besides :data:`ALLOWED`: packages that the user allows, and registered data sets.

    Args:
        allow_import: values of the flag.
    """
    homes = {dataset.__module__ for dataset in datasets().values()}  # imported already, by a plugin or a Python caller
    return [*allow_import, *sorted(home for home in homes if not _under(home, ALLOWED))]


@contextlib.contextmanager
def only_allowed(extra: Sequence[str]) -> Iterator[None]:
    """While this lasts the parser imports nothing but what ``ALLOWED`` and ``extra`` hold.

    Args:
        extra: packages or modules that are allowed besides.
    """
    set_parsing_settings(
        # what the settings name by URL is a stranger's too
        config_read_mode_fsspec_enabled=False,
        # class paths in free-form settings such as model.backbone_args stay what they are: text
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=["*"],
        import_path_allowlist=[*ALLOWED, *extra],
    )
    try:
        yield
    finally:
        set_parsing_settings(import_path_denylist=[name for name in extra if name not in ALLOWED])


def check(sources: Sources, extra: Sequence[str]) -> None:
    """Refuse class paths from outside the allowed packages, before any of them is imported.

    Raises:
        UserError: naming the source, the setting, the class path, and how to allow it.
    """
    for source, content in sources.items():
        for leaf in _leaves(content):
            if leaf.is_class and (fault := _fault(leaf.value, extra)):
                raise _refusal(source, leaf.setting, fault)


def explain_denied(message: str, sources: Sources, extra: Sequence[str]) -> UserError | None:
    """The refusal for a parser's error, when the cause is a path that it did not import.

    ``check`` does not find all: settings that take a function are plain texts, and settings may name further files.
    """
    if not (found := DENIED.search(message)):
        return None
    denied = found[1]
    for source, content in reversed(list(sources.items())):
        for leaf in _leaves(content):
            # a path that leads through an allowed module into another one is denied by what it leads to
            through = _under(leaf.value, [*ALLOWED, *extra]) and leaf.value.endswith(denied.rpartition(".")[2])
            if leaf.value == denied or through:
                return _refusal(source, leaf.setting, _fault(leaf.value, extra) or _outside(denied))
    keys = re.findall(r'[Kk]ey "([\w.]+)"', message)
    return _refusal("", _plain_name(".".join(keys)), _outside(denied))


def check_parsed(config: Mapping[str, Any], sources: Sources, extra: Sequence[str]) -> None:
    """Refuse what only the parser could find: class paths in further files, and functions.

    A function that is called with what a setting says could do anything.

    Raises:
        UserError: naming the source, the setting and the path.
    """
    check({"": config}, extra)
    for setting, value in _routines(config):
        path = f"{value.__module__}.{value.__qualname__}"
        if _under(path, [DEFAULT_FUNCTIONS, *extra]):
            continue
        sources_of = [
            source for source, content in sources.items() if setting in {leaf.setting for leaf in _leaves(content)}
        ]
        raise _refusal(
            sources_of[-1] if sources_of else "", setting, Fault(f"{path}, which is no class", str(value.__module__))
        )


def _refusal(source: str, setting: str, fault: Fault) -> UserError:
    where = f"{source}: {setting}" if source and source != f"--{setting}" else f"--{setting}"
    return UserError(
        f"{where} names {fault.what}: refused before anything of it runs. If you trust it, add "
        f"--allow_import {fault.home}"
    )


def _outside(path: str) -> Fault:
    return Fault(f"{path}, which is outside of {ALLOWED_IN_WORDS}", path.rpartition(".")[0])


def _fault(path: str, extra: Sequence[str]) -> Fault | None:
    """What is wrong with a class path, if anything."""
    if not _under(path, [*ALLOWED, *extra]):
        return _outside(path)
    found = _resolve(path)
    if found is None or _under(path, extra):
        return None  # what is missing, the parser says; what the user allowed may be anything
    module = found.__name__ if inspect.ismodule(found) else getattr(found, "__module__", None) or "builtins"
    if not _under(module, [*ALLOWED, *extra]):
        home = f"{module}.{found.__qualname__}" if hasattr(found, "__qualname__") else module
        return Fault(f"{path}, which is {home}, outside of {ALLOWED_IN_WORDS}", module)
    return None if inspect.isclass(found) else Fault(f"{path}, which is no class", module)


def _resolve(path: str) -> Any:
    """The object at a dotted path below an allowed package, ``None`` if there is none."""
    parts = path.split(".")
    try:
        found = importlib.import_module(parts[0])
        for number, part in enumerate(parts[1:], 2):
            if inspect.ismodule(found) and not hasattr(found, part):
                found = importlib.import_module(".".join(parts[:number]))
            else:
                found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found


def _under(path: str, packages: Sequence[str]) -> bool:
    return any(path == package or path.startswith(f"{package}.") for package in packages)


def sources(arguments: Arguments, base: Mapping[str, Any], checkpoint: Path | None) -> Sources:
    """Everything that says what a command's settings are, in the order in which later ones win.

    Args:
        arguments: the command line, with its configs and flags.
        base: settings that come from the checkpoint.
        checkpoint: its file.
    """
    sources: dict[str, Any] = {str(checkpoint): base} if base else {}
    sources.update(contents(arguments))
    for flag, text in arguments.flags:
        name = flag.lstrip("-").rstrip("+").removesuffix(".help")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        # a flag may be given more than once
        sources.setdefault(f"--{_plain_name(name)}", []).append({name: value})
    return sources


def _values(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What nested settings hold, with dotted names; the items of a list have the list's."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _values(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from _values(value, name)
    else:
        yield name, content


def _leaves(content: Any) -> Iterator[Leaf]:
    for name, value in _values(content):
        if isinstance(value, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", value):
            setting = _plain_name(name)
            # data: cifar.yaml is a file with more settings
            is_file = value.endswith((".yaml", ".yml", ".json"))
            yield Leaf(setting, value, name.endswith("class_path") or (setting in CLASS_SETTINGS and not is_file))


def _plain_name(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in ("class_path", "init_args"))


def _routines(content: Any) -> Iterator[tuple[str, Any]]:
    """Functions and methods in parsed settings, with the settings that hold them."""
    for name, value in _values(content):
        if inspect.isroutine(value):
            yield _plain_name(name), value
