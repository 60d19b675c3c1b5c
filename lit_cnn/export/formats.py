"""The formats of exported files: one table, from name to the file that writes and runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.export import onnx_format, openvino_format, torch_export_format, torchscript_format
from lit_cnn.export.graph import ImageGraph
from lit_cnn.export.metadata import Metadata


class Runner(Protocol):
    """An exported file that is ready to run.

    Attributes:
        metadata: what the file says about itself.
    """

    metadata: Metadata

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map uint8 (N, H, W, C) to probabilities float32 (N, K), or restored images, uint8 of the same shape."""


class Format(NamedTuple):
    """A format.

    Attributes:
        suffix: of its files.
        write: graph, example uint8 (N, H, W, C), names of the dynamic dimensions, and path to a file.
        write_metadata: replaces the metadata of a file.
        open: makes a file ready to run.
        require: raises UserError where a package is missing.
        help: one line.
        decodes: whether its graphs can resize images of any size.
        beside: suffixes of further files of the same name, without which the first is nothing.
    """

    suffix: str
    write: Callable[[ImageGraph, Tensor, dict[int, str], Path], None]
    write_metadata: Callable[[Path, Metadata], None]
    open: Callable[[Path], Runner]
    require: Callable[[], None]
    help: str
    decodes: bool = True
    beside: tuple[str, ...] = ()

    def files(self, path: Path) -> list[Path]:
        """All files of an exported network, those beside ``path`` first."""
        return [*(path.with_suffix(suffix) for suffix in self.beside), path]


FORMATS = {
    "onnx": Format(
        onnx_format.SUFFIX,
        onnx_format.write,
        onnx_format.write_metadata,
        onnx_format.OnnxRunner,
        onnx_format.require,
        "ONNX, for onnxruntime in any language, and browsers",
    ),
    "openvino": Format(
        openvino_format.SUFFIX,
        openvino_format.write,
        openvino_format.write_metadata,
        openvino_format.OpenVinoRunner,
        openvino_format.require,
        "OpenVINO, for CPUs and GPUs of Intel's, and other CPUs",
        decodes=False,  # its resizing of small images has been found wrong by the proof
        beside=(openvino_format.WEIGHTS,),
    ),
    "torch_export": Format(
        torch_export_format.SUFFIX,
        torch_export_format.write,
        torch_export_format.write_metadata,
        torch_export_format.TorchExportRunner,
        torch_export_format.require,
        "torch.export, for torch without this package",
    ),
    "torchscript": Format(
        torchscript_format.SUFFIX,
        torchscript_format.write,
        torchscript_format.write_metadata,
        torchscript_format.TorchScriptRunner,
        torchscript_format.require,
        "TorchScript, for C++; takes resized images",
        decodes=False,  # tracing cannot branch on the size of an image
    ),
}


def format_of(path: Path) -> Format | None:
    """The format of a file by its name; None for all others."""
    return next((known for known in FORMATS.values() if path.name.endswith(known.suffix)), None)


def open_exported(path: Path) -> Runner:
    """Make a file of any format ready to run.

    Raises:
        UserError: it is of no such format, it cannot be read, or its package is missing.
    """
    found = format_of(path)
    if found is None:
        known = ", ".join(known.suffix for known in FORMATS.values())
        raise UserError(f"{path} is no exported model: these end in {known}")
    return found.open(path)
