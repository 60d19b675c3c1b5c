"""Load files of ``torch.save`` with ``weights_only=True``, passing over inert objects that lie beside the tensors.

Training scripts store their options (``argparse.Namespace``), NumPy numbers, paths, dates and the like beside the
weights, which PyTorch refuses. Such objects are not built here: each becomes an empty placeholder, so that none of
their code runs, nor is their package imported.
"""

from __future__ import annotations

import _compat_pickle
import pickle
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch.serialization import safe_globals

from lit_cnn.errors import UserError

# Names that PyTorch loads itself with weights_only=True.
_PLAIN = re.compile(
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(bytearray|set|complex)"
    r"|torch\.(\w+|(_utils|_tensor|storage|serialization|nn\.parameter)\.\w+)"
)
# Classes that are passed over. Subclasses of dict are read as dictionaries, since they may hold the tensors.
_DICTIONARIES = re.compile(
    r"collections\.defaultdict|easydict\.EasyDict|(yacs|fvcore\.common)\.config\.CfgNode|addict\.(addict\.)?Dict"
    r"|munch\.Munch|(mmcv|mmengine)\.[\w.]*ConfigDict|[\w.]+\.AttributeDict"
)
_INERT = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|collections\.deque|enum\.\w+|typing\.\w+|uuid\.\w+"
    r"|datetime\.\w+|decimal\.Decimal|fractions\.Fraction|pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path"
    r"|builtins\.(dict|list|tuple|int|float|str|bool|bytes|frozenset|slice|range|object|type|getattr)"
    r"|copyreg\._reconstructor|numpy\..+|(omegaconf|yacs|ml_collections|mmcv|mmengine|torchmetrics)\..+"
    r"|(pytorch_lightning|lightning|lightning_fabric|lightning_utilities)\..+"
    r"|torch\.(optim|nn|amp|cuda\.amp)\..+|torchvision\.transforms\..+"
)
_NETWORKS = re.compile(r"torch\.nn\.modules\.(?!loss\b).+")
_MOST_NAMES = 3  # in a message
# torch.save before version 1.6 wrote several pickles in a row, the first of them a number that names the format.
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


class Inert(list[Any]):
    """Placeholder of an object that was passed over; it drops whatever the object held."""

    def __init__(self, *args: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Drop it."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # such objects are keys of dictionaries too


class InertNetwork(Inert):
    """Placeholder of an ``nn.Module``."""


class InertArray(Inert):
    """Placeholder of a NumPy array."""


class _Dictionary:
    """Stands for subclasses of dict: PyTorch fills only dict and OrderedDict."""

    def __new__(cls, *args: Any) -> Any:
        return OrderedDict()


def load_content(path: Path) -> Any:
    """Content of a file of ``torch.save``; :class:`Inert` where it holds inert objects.

    Raises:
        UserError: it holds objects whose loading could run code, or no tensors but a whole network.
        Exception: what ``torch.load`` raises for a damaged file.
    """
    try:
        return _load(path)
    except pickle.UnpicklingError as error:
        if "operand" in str(error):
            raise UserError(
                f"{path} was pickled with another protocol than torch.save's, which PyTorch cannot load safely: "
                "save its state dict with torch.save alone"
            ) from None
    names = sorted(name for name in set(_global_names(path)) if not _PLAIN.fullmatch(name))
    refused = [name for name in names if not _INERT.fullmatch(name) and not _DICTIONARIES.fullmatch(name)]
    if refused or not names:
        raise _refusal(path, refused, names)
    stand_ins: list[Any] = [(_stand_in(name), name) for name in names]
    try:
        with safe_globals(stand_ins):
            content = _load(path)
    except pickle.UnpicklingError:  # such as a call of what getattr gives
        raise _refusal(path, names, names) from None
    return content


def _stand_in(name: str) -> type:
    if _DICTIONARIES.fullmatch(name):
        return _Dictionary
    if _NETWORKS.fullmatch(name):
        return InertNetwork
    return InertArray if name.startswith("numpy") and name.endswith("_reconstruct") else Inert


def without_tensors(path: Path, content: Any) -> UserError:
    """The error for a file without tensors: what it holds instead."""
    inside = list(_inert(content))
    if any(isinstance(item, InertNetwork) for item in inside):
        return _refusal(path, [], ["torch.nn.modules.module.Module"])
    if any(isinstance(item, InertArray) for item in inside):
        return UserError(f"{path} holds NumPy arrays, not tensors: save them as tensors, under the network's names")
    if not isinstance(content, dict):
        kind = "n object" if isinstance(content, Inert) else f" {type(content).__name__}"
        return UserError(f"{path} holds no state dict but a{kind}")
    keys = ", ".join(map(str, list(content)[:5])) or "nothing"
    return UserError(f"{path} holds no tensors, only {keys}: it is not a state dict or a checkpoint")


def _inert(content: Any) -> Iterator[Inert]:
    if isinstance(content, Inert):
        yield content
    elif isinstance(content, dict | list | tuple):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _inert(value)


def _load(path: Path) -> Any:
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # about protocols
        # Of a path that ends in .safetensors, torch.load believes its name.
        return torch.load(file if path.suffix == ".safetensors" else path, map_location="cpu", weights_only=True)


def _refusal(path: Path, refused: list[str], names: list[str]) -> UserError:
    shown = ", ".join(refused[:_MOST_NAMES]) + (", …" if len(refused) > _MOST_NAMES else "")
    shown = f" ({shown})" if shown else ""
    if any(_NETWORKS.fullmatch(name) for name in names):
        return UserError(
            f"{path} was refused: it holds a network pickled as a whole{shown}, and loading that could run code. "
            "Where you trust it, save its weights alone: torch.save(network.state_dict(), 'weights.pth')"
        )
    return UserError(
        f"{path} was refused: it holds Python objects beside tensors{shown}, and loading "
        "those could run code. Save it again as a state dict: torch.save(model.state_dict(), 'weights.pth')"
    )


def _global_names(path: Path) -> list[str]:
    """Full names of the classes and functions that the pickles of a file refer to; nothing is loaded."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            with archive.open(pickles[0]) as file:
                return _names_in(file)
    with path.open("rb") as file:
        count = 5 if file.read(len(LEGACY)) == LEGACY else 1
        file.seek(0)
        return [name for _ in range(count) for name in _names_in(file)]


def _names_in(file: IO[bytes]) -> list[str]:
    """The names in one pickle."""
    names: list[tuple[str, str]] = []
    words: list[str] = []  # the last two make a name in protocol 4
    for code, argument, _ in pickletools.genops(file):
        if code.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            names.append((module, name))
        elif code.name == "STACK_GLOBAL" and len(words) > 1:
            names.append((words[-2], words[-1]))
        elif isinstance(argument, str):
            words.append(argument)
    # Protocol 2 has the names of Python 2.
    names = [_compat_pickle.NAME_MAPPING.get(pair, pair) for pair in names]
    return [f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}" for module, name in names]
