"""Turn jsonargparse's errors of many lines into one line with the fix."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from inspect import signature

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lit_cnn.cli.validation import LINKED
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.registry import find_dataset
from lit_cnn.errors import UserError, nearest

KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "list": "a list"}


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
        return _unknown(found[1], known)
    if found := re.search(r"does not accept (?:nested key|option) '([\w.]+)'", message):
        return _unknown(found[1].replace(".init_args", ""), known)
    if found := re.search(r"class_path '([\w.]+)':\s+Option '(\w+)' is not accepted", message):
        short = found[1].rpartition(".")[2]
        part = "data" if short in datasets else _part(message)
        if part == "data" and found[2] in signature(ImageDataModule).parameters:
            return (
                f"{short} does not take --data.{found[2]}: let its __init__ take **kwargs and pass them on, "
                "super().__init__(**kwargs)"
            )
        return _unknown(f"{part}.{found[2]}", known, f" of {short}")
    if re.search(r'[Kk]ey "(\w+\.)?data" is required', message) or re.search(r"required: (\w+\.)?data\b", message):
        return f"choose the images with --data NAME (and --data.data_dir DIR): {', '.join(datasets)}"
    if found := re.search(
        r"given class_path '([\w.]+)':\s+(No module named '[\w.]+'|module '.+' has no attribute .+)", message
    ):
        return f"--{_key(message)}: there is no class {found[1]}: {found[2]}"
    if found := re.search(r"dot import path string: (\S+)", message):
        if _part(message) == "data":
            known_sets = f"known: {', '.join(datasets)}; one of your own needs --allow_import PACKAGE"
            return f"unknown data set {found[1]!r}{nearest(found[1], datasets) or ';'} {known_sets}"
        return f"--{_key(message)}: unknown class {found[1]!r}"
    if found := re.search(r"class_path '([\w.]+)':\s+the following arguments are required: ([\w, ]+)", message):
        required = [f"--{_key(message)}.{name.strip()}" for name in found[2].split(",")]
        verb = "are" if len(required) > 1 else "is"
        return f"{' and '.join(required)} {verb} required by {found[1].rpartition('.')[2]}"
    if "is abstract" in message and (found := re.search(r"Given value: (?:.*?class_path=')?([\w.]+)", message)):
        return _abstract(found[1], datasets)
    return _bad_value(message)


def _abstract(name: str, datasets: list[str]) -> str:
    cls = find_dataset(name)
    short = name.rpartition(".")[2]
    if cls is None or cls.__module__.startswith("lit_cnn."):
        return f"{short} is a base class: known data sets are {', '.join(datasets)}"
    methods = sorted(getattr(cls, "__abstractmethods__", ()))
    return (
        f"{short} lacks the method{'s' if len(methods) > 1 else ''} {', '.join(methods)}, see {cls.__mro__[1].__name__}"
    )


def _unknown(name: str, known: list[str], where: str = "") -> str:
    part = name.partition(".")[0]
    known = [setting for setting in known if setting not in LINKED]
    by_tail = {setting.rpartition(".")[2]: setting for setting in reversed(known)}
    near = nearest(name, known) or nearest(name.rpartition(".")[2], by_tail)
    siblings = [k for k in known if k.startswith(f"{part}.") and k.count(".") == 1]
    if near:
        near = re.sub(r"'([\w.]+)'", lambda found: f"--{by_tail.get(found[1], found[1])}", near)
    elif siblings:
        near = f"; {part} has: {', '.join(k.partition('.')[2] for k in siblings)}"
    else:
        near = "; lit-cnn fit --help all lists every setting"
    return f"unknown setting --{name}{where}{near}"


def _bad_value(message: str) -> str:
    key, value = _key(message), re.findall(r"(?:Given value|Got value): *(.+)", message)
    got = re.sub(r"^NestedArg\(key='[^']*', val=(.*)\)$", r"\1", value[0]) if value else ""
    inner = re.findall(r'Parser key "([\w.]+)"', message)
    if len(inner) > 1 and inner[-1] != inner[0]:
        key = f"{inner[0]}.{inner[-1]}".replace(".init_args", "")
    choices = ", ".join(re.findall(r"Expected a typing\.Literal\[(.+?)\]\.?", message))
    types = [t for t in dict.fromkeys(re.findall(r"Expected an? <class '(\w+)'>", message)) if t != "NoneType"]
    if choices and not types:
        return f"--{key}: {_quote(got)} is none of {choices}"
    if types and got:
        kinds = " or ".join([*(KINDS.get(t, t) for t in types), *([choices] if choices else [])])
        return f"--{key}: expected {kinds}, got {_quote(got)}"
    return " ".join(message.split())


def _key(message: str) -> str:
    found = re.search(r'[Kk]ey "([\w.]+)"', message)
    return found[1].replace(".init_args", "") if found else "?"


def _part(message: str) -> str:
    return _key(message).partition(".")[0]


def _quote(text: str) -> str:
    return text if text.startswith(("'", '"')) else repr(text)


@contextlib.contextmanager
def reporting_mistakes() -> Iterator[None]:
    """Let a user's mistake that a class found in its settings come out as such.

    The parser takes a ``ValueError`` for one more type that does not fit, and lists it among the others.

    Raises:
        UserError: instead of the parser's error.
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
