"""``torch.export``: a graph of torch's own operations in a .pt2 file, which runs without this package.

torch.export.load runs code that is in a file, so what is loaded here is checked first.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from lit_cnn.errors import UserError
from lit_cnn.export.graph import ImageGraph
from lit_cnn.export.metadata import Metadata, from_text, to_text

SUFFIX = ".pt2"
METADATA = "metadata.json"  # an extra file of the archive


def require() -> None:
    """Nothing but torch is needed."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def write(graph: ImageGraph, example: Tensor, dynamic: dict[int, str], path: Path) -> None:
    """Write a graph, see ``onnx_format.write``."""
    shapes: Any = (dict.fromkeys(dynamic, Dim.DYNAMIC),)
    with _quiet(), torch.no_grad():
        torch.export.save(torch.export.export(graph, (example,), dynamic_shapes=shapes), path)


# In the expressions of shapes, which torch evaluates as Python: numbers, operators, symbols, functions of sizes.
_NAMES = (
    "Symbol|Integer|Rational|Add|Mul|Pow|Mod|PythonMod|Max|Min|FloorDiv|CleanDiv|IntTrueDiv|TruncToInt|Eq|Ne|Lt|Le|Gt|Ge"
    "|And|Or|Not|positive|nonnegative|integer|True|False|true|false|oo|int_oo"
)
_EXPRESSION = re.compile(rf"(?:[\d\s()+*/%,<>=-]|'?\b[suz]f?\d+\b'?|\b(?:{_NAMES})\b)*")


def _check_plain(path: Path) -> None:
    """Refuse a file that would run code when it is loaded.

    Raises:
        UserError: it holds pickled objects, or expressions that are none of sizes.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            folders, base = name.split("/")[1:-1], name.rpartition("/")[2]
            plain = True
            if base.endswith(".json") and folders != ["extra"]:
                plain = _is_plain(json.loads(content))
            elif base.endswith(".pt"):
                torch.load(io.BytesIO(content), weights_only=True)
            elif folders[:1] == ["data"]:
                plain = re.fullmatch(r"(weight|tensor)_\d+", base) is not None
            if not plain:
                raise UserError(f"{path} holds Python objects that would run code when loaded ({name}): refused")


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        text = value.get("expr_str")
        if value.get("use_pickle") or (isinstance(text, str) and _EXPRESSION.fullmatch(text) is None):
            return False
        return all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list) else True


def _load(path: Path) -> tuple[ExportedProgram, str]:
    extra: dict[str, Any] = {METADATA: ""}
    try:
        _check_plain(path)
        with _quiet():
            return torch.export.load(path, extra_files=extra), extra[METADATA]
    except UserError:
        raise
    except Exception as error:  # torch raises almost anything on a damaged archive
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} cannot be read as a file of torch.export: {reason}") from error


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Replace the metadata of a file, an extra file of the archive; its graph stays as it is."""
    program, _ = _load(path)
    text = json.dumps(to_text(metadata), ensure_ascii=False, indent=1)
    with _quiet():
        torch.export.save(program, path, extra_files={METADATA: text})


class TorchExportRunner:
    """A file that is ready to run.

    Attributes:
        metadata: what the file says about itself.
    """

    def __init__(self, path: Path) -> None:
        program, text = _load(path)
        self._module = program.module()
        self.metadata = from_text(json.loads(text)) if text else {}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map uint8 (N, H, W, C) to probabilities float32 (N, K), or restored images, uint8 of the same shape."""
        with torch.inference_mode():
            return self._module(torch.from_numpy(images)).numpy()
