"""Weights files: reading the user's, downloading those that torchvision publishes."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.models._external import torchvision_models
from lit_cnn.utils.download import PublishedFile, fetch, verify
from lit_cnn.utils.files import expand_home

# Old names in files that torchvision still publishes or once wrote, with the current ones. Its own loading code does
# the same: models/densenet.py, _load_state_dict; models/vision_transformer.py, MLPBlock._load_from_state_dict.
_OLD_NAMES = (
    (re.compile(r"(\.denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)"), r"\1"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


def current_names(found: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Current names for the outdated ones of a file; only names that ``known`` has, and each only once.

    Args:
        found: names in the file.
        known: names in the model.
    """
    names = {}
    for key in found:
        new = key
        for old, now in _OLD_NAMES:
            new = old.sub(now, new)
        if key not in known and new in known and new not in found:
            names[key] = new
    return names


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file or checkpoint; of a Lightning checkpoint, those of its ``backbone``.

    Only tensors and plain types are read: a file that holds code is refused before any of it runs.

    Raises:
        UserError: no such file, or not one of the kinds.
    """
    path = Path(expand_home(path))
    if not path.is_file():
        raise UserError(f"no weights file at {path}" + (" (it is a folder)" if path.is_dir() else ""))
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = _read_safetensors(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:
        # PyTorch says the same of objects it refuses and of bytes that are no pickle.
        refused = "weights_only" in str(error).lower() or "Unsupported" in str(error)
        if refused and _may_be_tensors(path):
            raise UserError(
                f"{path} was refused: it holds Python objects beside tensors, and loading those could run code. "
                "Save it again as a state dict: torch.save(model.state_dict(), 'weights.pth')"
            ) from None
        raise UserError(f"{path} is not a weights file that PyTorch can read, or it is truncated") from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no state dict but a {type(content).__name__}")
    # Prefixes that torch.compile and DistributedDataParallel leave.
    state = {
        str(key).replace("_orig_mod.", "").removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, Tensor)
    }
    inside = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    if not state:
        raise UserError(f"{path} holds no tensors: it is not a state dict or a checkpoint")
    return inside or state


def _may_be_tensors(path: Path) -> bool:
    """Whether a file begins as those of ``torch.save`` do: a zip archive, or before version 1.6 a pickle."""
    with path.open("rb") as file:
        return file.read(2).startswith((b"PK", b"\x80"))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise UserError(f"reading {path} needs the safetensors package: pip install safetensors") from None
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
    return f"{weights} ({url})", read_state_dict(path)
