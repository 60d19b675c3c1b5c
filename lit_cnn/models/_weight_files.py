"""Weights files: reading the user's, downloading those that torchvision publishes."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.models._external import torchvision_models
from lit_cnn.models._foreign_files import BEGINNING, foreign_kind
from lit_cnn.models._safe_load import load_content, without_tensors
from lit_cnn.models._weight_entries import flatten
from lit_cnn.utils.download import PublishedFile, fetch, verify
from lit_cnn.utils.files import expand_home

ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".th")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a weights file or checkpoint, by their keys joined with dots.

    Only tensors and plain types are read: a file that holds code is refused before any of it runs.

    Raises:
        UserError: no such file, or not one of the kinds.
    """
    path = Path(expand_home(path))
    if not path.is_file():
        raise UserError(_missing(path))
    try:
        with path.open("rb") as file:
            head = file.read(BEGINNING)
        if _is_safetensors(head):
            content: Any = _read_safetensors(path)
        elif kind := foreign_kind(path, head):
            raise UserError(f"{path} is {kind}")
        else:
            content = load_content(path)
    except (UserError, MemoryError):
        raise
    except PermissionError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # a damaged file makes torch raise almost anything
        if "can't allocate memory" in str(error):
            raise
        raise UserError(f"{path} is truncated or damaged: copy or download it again") from None
    tensors = flatten(content)
    if not tensors:
        raise without_tensors(path, content)
    return tensors


def _missing(path: Path) -> str:
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if file.name.endswith(ENDINGS))
        advice = f": give a file in it, such as {inside[0]}" if inside else ", and holds no weights file"
        return f"no weights file at {path}: it is a folder{advice}"
    if re.match(r"https?:/", str(path)):
        return f"`model.weights={path}` is a web address: download the file first, and give its path"
    word = "" if path.suffix or len(path.parts) > 1 else "; the word for published weights is imagenet"
    return f"no weights file at {path}{word}"


def _is_safetensors(head: bytes) -> bool:
    """Such a file begins with the length of a JSON header in 8 bytes, and the header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise UserError(f"reading {path} needs the safetensors package: pip install 'lit-cnn[hub]'") from None
    return load_file(path)


def published_weights(twin: str) -> tuple[str, dict[str, Tensor]]:
    """Name with URL, and state dict, of torchvision's published weights for its model ``twin``.

    They are downloaded once, to the folder ``checkpoints`` of ``torch.hub.get_dir()``. The file's name contains the
    start of its SHA-256, which is verified each time before the file is opened.

    Raises:
        UserError: there are none, they cannot be downloaded, or the file is not the one published.
    """
    try:
        weights = torchvision_models().get_model_weights(twin).DEFAULT
    except (ValueError, AttributeError):
        raise UserError(f"torchvision publishes no ImageNet weights for {twin}") from None
    url = weights.url
    name = PurePosixPath(urlparse(url).path).name
    named = re.search(r"-([0-9a-f]{8,})\.", name)
    file = PublishedFile(name, (url,), sha256=named[1] if named else "")
    folder = torch.hub.get_dir()
    if folder.startswith("~"):
        raise UserError("this user has no home folder for downloaded weights: set TORCH_HOME to a folder")
    path = fetch(file, Path(folder, "checkpoints"), "give the path of a file in `model.weights`")
    verify(path, file)
    return f"{weights} ({url})", read_tensors(path)
