"""TorchScript: a traced graph in a .torchscript file, for C++ and older runtimes of torch. It takes resized images."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.export.graph import ImageGraph
from lit_cnn.export.metadata import Metadata, from_text, to_text

SUFFIX = ".torchscript"
METADATA = "metadata.json"  # an extra file of the archive


def require() -> None:
    """Nothing but torch is needed."""


def write(graph: ImageGraph, example: Tensor, dynamic: dict[int, str], path: Path) -> None:
    """Write a graph, see ``onnx_format.write``. Tracing leaves all dimensions free that no operation fixes."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that it is deprecated in favour of torch.export
        torch.jit.save(torch.jit.trace(graph, (example,), check_trace=False), str(path))


def _load(path: Path) -> tuple[Any, str]:
    extra: dict[str, Any] = {METADATA: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    except Exception as error:  # torch raises almost anything on a damaged archive
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} cannot be read as a TorchScript file: {reason}") from error
    text = extra[METADATA]
    return module, text.decode() if isinstance(text, bytes) else text


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Replace the metadata of a file, an extra file of the archive; its graph stays as it is."""
    module, _ = _load(path)
    text = json.dumps(to_text(metadata), ensure_ascii=False, indent=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, str(path), _extra_files={METADATA: text})


class TorchScriptRunner:
    """A file that is ready to run.

    Attributes:
        metadata: what the file says about itself.
    """

    def __init__(self, path: Path) -> None:
        self._module, text = _load(path)
        self.metadata = from_text(json.loads(text)) if text else {}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map uint8 (N, H, W, C) to probabilities float32 (N, K), or restored images, uint8 of the same shape."""
        with torch.inference_mode():
            return self._module(torch.from_numpy(images)).numpy()
