"""Turn jsonargparse's errors of many lines into one line with the fix."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from inspect import isclass, signature

from jsonargparse import ArgumentParser
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from lit_cnn.cli.argv import canonical, unknown_flag
from lit_cnn.cli.other_tools import advice
from lit_cnn.cli.validation import LINKED
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.registry import find_dataset
from lit_cnn.errors import UserError, nearest

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a dictionary",
    "timedelta": "a duration such as 00:01:30:00",
}
# Where the classes that a setting of the trainer takes by name are found.
HOMES = {
    "trainer.callbacks": "lightning.pytorch.callbacks",
    "trainer.logger": "lightning.pytorch.loggers",
    "trainer.profiler": "lightning.pytorch.profilers",
    "trainer.strategy": "lightning.pytorch.strategies",
    "trainer.accelerator": "lightning.pytorch.accelerators",
    "trainer.plugins": "lightning.pytorch.plugins",
}
# Base classes, which the parser tries when nothing else fits.
BASES = ("Callback", "Logger", "Profiler", "Strategy", "Accelerator", "LayerSync", "Precision", "CheckpointIO")
# What settings take whose types say it badly.
EXPECTED = {
    "trainer.precision": "32-true, bf16-mixed, 16-mixed, bf16-true, 16-true, 64-true or auto",
    "trainer.callbacks": "the name of a class such as EarlyStopping, or a list of them",
    "trainer.logger": "the name of a class such as CSVLogger, a list of them, true or false",
    "data.image_size": "a whole number such as 224, or height x width such as 96x128",
    "trainer.devices": "how many, or a list such as [0,1]",
}
# Names that no alias holds, since alone they could mean something else.
MEANT = {
    "model.name": "model.backbone",
    "data.name": "data",
    "data.path": "data.data_dir",
    "data.dir": "data.data_dir",
    "data.folder": "data.data_dir",
}
LONGEST = 200  # characters of what the parser says where none of its texts is known here


def humanize_parser_error(message: str, known: Iterable[str], datasets: Iterable[str]) -> str:
    """One line for an error of jsonargparse.

    Args:
        message: text of the parser's error.
        known: names of all settings of the command, such as ``data.batch_size``.
        datasets: names that ``--data`` takes.
    """
    known = sorted(known)
    datasets = sorted(datasets)
    if found := re.search(r"nrecognized arguments: -*([\w.]+)", message):
        name = found[1] if found[1].partition(".")[0] != "augment" else f"data.{found[1]}"
        return _unknown(name, known)
    if found := re.search(r"(Group 'augment' )?does not accept (?:nested key|option) '([\w.]+)'", message):
        return _unknown(f"{'data.augment.' if found[1] else ''}{found[2].replace('.init_args', '')}", known)
    if re.search(r'[Kk]ey "(\w+\.)?data" is required', message) or re.search(r"required: (\w+\.)?data\b", message):
        return f"choose the images with --data NAME (and --data-dir DIR): {', '.join(datasets)}"
    if "Unable to load config" in message:
        name = "data.augment" if "augment" in message else _key(message)
        return f"--{name} takes a file of settings; a single one is --{name}.NAME VALUE"
    for class_path, problem in _class_problems(message):
        if line := _class_line(class_path, problem, message, known, datasets):
            return line
    if found := re.search(r"Multiple subclasses with name (\w+)\. .*?ambiguity: ([\w., ]+)\.", message):
        paths = found[2].replace(", ", " or ")
        return f"--{_key(message)}: several classes are called {found[1]}: give the whole path, {paths}"
    if found := re.search(r"dot import path string: (\S+)", message):
        return _unknown_class(_key(message), found[1], datasets)
    if "is abstract" in message and _part(message) == "data":
        found = re.search(r"Given value: (?:.*?class_path=')?([\w.]+)", message)
        return _abstract(found[1] if found else "ImageDataModule", datasets)
    return _bad_value(message)


def _class_problems(message: str) -> list[tuple[str, str]]:
    """Class paths that the parser tried, and what it says about each; base classes that nobody named come last."""
    found = []
    for start in re.finditer(r"^( *)(?:- )?Problem with given class_path '([\w.]+)':\n", message, re.MULTILINE):
        lines = []
        for line in message[start.end() :].splitlines():
            if len(line) - len(line.lstrip()) <= len(start[1]):
                break
            lines.append(line)
        found.append((start[2], "\n".join(lines)))
    return sorted(found, key=lambda pair: pair[0].rpartition(".")[2] in BASES)


def _class_line(class_path: str, problem: str, message: str, known: list[str], datasets: list[str]) -> str:
    """The line for what is wrong with a class or one of its options; ``""`` where the text is not known here."""
    short, key = class_path.rpartition(".")[2], _key(message)
    is_data = key == "data"
    if found := re.search(r"Option '(\w+)' is not accepted", problem):
        option = found[1]
        if is_data and option in signature(ImageDataModule).parameters:
            return (
                f"{short} does not take --data.{option}: let its __init__ take **kwargs and pass them on, "
                "super().__init__(**kwargs)"
            )
        if is_data:
            return _unknown(f"data.{option}", known, f" of {short}")
        return _unknown_option(key, class_path, option)
    if found := re.search(r"(No module named '[\w.]+'|module '.+' has no attribute .+)", problem):
        return f"--{key}: there is no class {class_path}: {found[1]}"
    if found := re.search(r"the following arguments are required: ([\w, ]+)", problem):
        required = [f"--{key}.{name.strip()}" for name in found[1].split(",")]
        return f"{' and '.join(required)} {'are' if len(required) > 1 else 'is'} required by {short}"
    if '"' in problem and "arser key" in problem:
        return _bad_value(problem, key)
    return ""


def _options(class_path: str) -> list[str]:
    """Options of a class that the parser has imported."""
    home, _, name = class_path.rpartition(".")
    probe = ArgumentParser(exit_on_error=False)
    try:
        probe.add_class_arguments(getattr(import_module(home), name), "of")
    except Exception:  # a class that cannot be inspected: no list to show
        return []
    return [action.dest.partition(".")[2] for action in probe._actions if action.dest.count(".") == 1]


def _unknown_option(key: str, class_path: str, option: str) -> str:
    short, options = class_path.rpartition(".")[2], _options(class_path)
    if not options:
        return f"--{key}.{option}: {short} has no options"
    return f"--{key}.{option}: {short} has no {option}{nearest(option, options) or '; it has ' + ', '.join(options)}"


def _unknown_class(key: str, name: str, datasets: list[str]) -> str:
    if key in ("data", "data.help"):
        known = f"known: {', '.join(datasets)}; one of your own needs --allow_import PACKAGE"
        return f"unknown data set {name!r}{nearest(name, datasets) or ';'} {known}"
    home = HOMES.get(key.removesuffix(".help"))
    names = [n for n, item in vars(import_module(home)).items() if isclass(item) and n[0] != "_"] if home else []
    return f"--{key}: unknown class {name!r}{nearest(name, [n for n in names if n not in BASES])}"


def _abstract(name: str, datasets: list[str]) -> str:
    cls = find_dataset(name)
    short = name.rpartition(".")[2]
    if cls is None or cls.__module__.startswith("lit_cnn."):
        known = f"known data sets are {', '.join(datasets)}"
        return f"choose the images with --data NAME: {known}" if cls is None else f"{short} is a base class: {known}"
    methods = sorted(getattr(cls, "__abstractmethods__", ()))
    return (
        f"{short} lacks the method{'s' if len(methods) > 1 else ''} {', '.join(methods)}, see {cls.__mro__[1].__name__}"
    )


def _unknown(name: str, known: list[str], where: str = "") -> str:
    """The line for a setting that does not exist, with the nearest that do."""
    part, _, tail = name.rpartition(".")
    known = [setting for setting in known if setting not in LINKED and not setting.endswith(".help")]
    meant = MEANT.get(name) or canonical(f"--{tail}").lstrip("-")
    if meant in known and meant != name:
        return f"unknown setting --{name}{where}, did you mean --{meant}?"
    if hint := advice(tail.lower()):
        return f"unknown setting --{name}{where}: {hint}"
    by_tail = {setting.rpartition(".")[2]: setting for setting in reversed(known)}
    siblings = {k.rpartition(".")[2]: k for k in known if part and k.rpartition(".")[0] == part}
    near = nearest(tail, siblings) or ("" if siblings else nearest(tail, by_tail))
    meanings = {**by_tail, **siblings}
    if near:
        flags = re.sub(r"'(\w+)'", lambda found: f"--{meanings[found[1]]}", near)
        return f"unknown setting --{name}{where}{flags}"
    if siblings and len(siblings) <= 12:
        return f"unknown setting --{name}{where}; {part} has: {', '.join(siblings)}"
    return unknown_flag(f"--{name}") if not part else f"unknown setting --{name}{where}; see lit-cnn fit --help all"


def _bad_value(message: str, outer: str = "") -> str:
    """The line for a value of the wrong kind; ``outer``: the setting that holds the class whose option it is."""
    values = re.findall(r"(?:Given value|Got value): *(.+)", message)
    got = re.sub(r"^NestedArg\(key='[^']*', val=(.*)\)$", r"\1", values[0]) if values else ""
    keys = [key.replace(".init_args", "") for key in re.findall(r'[Kk]ey "([\w.]+)"', message)]
    key = ".".join(dict.fromkeys([*([outer] if outer else []), *keys[:1], *keys[-1:]])) or "?"
    key = "seed" if key in LINKED and key.endswith(".seed") else key  # which it is linked to
    if key in EXPECTED:
        return f"--{key}: expected {EXPECTED[key]}, got {_quote(got)}"
    choices = ", ".join(re.findall(r"Expected a typing\.Literal\[(.+?)\]\.?", message))
    types = [t.rpartition(".")[2] for t in re.findall(r"Expected an? <class '([\w.]+)'>", message)]
    kinds = list(dict.fromkeys(KINDS[t] for t in types if t in KINDS))
    kinds += [f"a list of {number} values" for number in re.findall(r"Expected a tuple with (\d+) elements", message)]
    if choices and not kinds:
        near = nearest(got, re.findall(r"[-\w]+", choices))
        return f"--{key}: {_quote(got)} is none of {choices}{near}"
    if kinds and got:
        return f"--{key}: expected {' or '.join([*kinds, *([choices] if choices else [])])}, got {_quote(got)}"
    if key != "?" and got:
        return f"--{key}: {_quote(got)} is no value that it takes, see lit-cnn fit --help all"
    line = " ".join(message.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 4]} ..."


def _key(message: str) -> str:
    found = re.search(r'[Kk]ey "([\w.]+)"', message) or re.match(r"--([\w.]+):", message)
    return found[1].replace(".init_args", "") if found else "?"


def _part(message: str) -> str:
    return _key(message).partition(".")[0]


def _quote(text: str) -> str:
    text = {"None": "null", "True": "true", "False": "false"}.get(text.strip(), text.strip())
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return text if text.startswith(("'", '"')) else repr(text)


@contextlib.contextmanager
def reporting_mistakes() -> Iterator[None]:
    """Let a user's mistake that a class found in its settings come out as such.

    The parser takes a ``ValueError`` for one more type that does not fit, and lists it among the others.

    Raises:
        UserError: instead of the parser's error, and of Lightning's for a wrong setting.
    """
    try:
        yield
    except ValueError as error:
        if found := re.search(r"Errors:\n  - (.+)", str(error)):
            raise UserError(found[1]) from error
        raise
    except MisconfigurationException as error:
        raise UserError(" ".join(str(error).split())) from error
    except RuntimeError as error:
        if found := re.search(r"more than one stateful callback of type `(\w+)`", str(error)):
            raise UserError(f"two callbacks {found[1]} have the same settings: give one of them") from error
        if found := re.search(r"Early stopping conditioned on metric `(.+?)` which is not available", str(error)):
            raise UserError(f"EarlyStopping watches {found[1]}, which this run does not measure") from error
        raise


@contextlib.contextmanager
def reporting_trainer_mistakes() -> Iterator[None]:
    """Let what Lightning's trainer says of its settings come out as the user's mistake, with the setting's name.

    Raises:
        UserError: instead of Lightning's error.
    """
    try:
        yield
    except (MisconfigurationException, ValueError, TypeError) as error:
        text = " ".join(str(error).split())
        named = [name for name in signature(Trainer.__init__).parameters if re.search(rf"\b{name}\b", text)]
        raise UserError(f"--trainer.{named[0]}: {text}" if named else text) from error
