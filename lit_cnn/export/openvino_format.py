"""OpenVINO: an ONNX graph converted to .xml (graph) and .bin (weights), in float32, run on the CPU."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.export import onnx_format
from lit_cnn.export.graph import ImageGraph
from lit_cnn.export.metadata import Metadata, from_text, to_text
from lit_cnn.export.packages import export_package

SUFFIX, WEIGHTS = ".xml", ".bin"
_SECTION = "model_info"  # of rt_info, where OpenVINO's own tools look


def _package(name: str) -> ModuleType:
    return export_package(name, "OpenVINO", "openvino")


def require() -> None:
    """Check that the packages are there.

    Raises:
        UserError: one is missing.
    """
    for name in ("openvino", "onnx", "onnxscript"):
        _package(name)


def _save(model: Any, path: Path) -> None:
    _package("openvino").save_model(model, str(path), compress_to_fp16=False)


def write(graph: ImageGraph, example: Tensor, dynamic: dict[int, str], path: Path) -> None:
    """Write a graph, see ``onnx_format.write``; its weights go to a .bin file of the same name."""
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "graph.onnx"
        onnx_format.write(graph, example, dynamic, onnx)
        _save(_package("openvino").convert_model(str(onnx)), path)


def _read(path: Path) -> tuple[Any, Any]:
    """The core, and the model with its weights in memory."""
    core = _package("openvino").Core()
    core.set_property({"ENABLE_MMAP": False})  # the files may be replaced
    try:
        return core, core.read_model(str(path))
    except Exception as error:  # openvino raises RuntimeError and others
        reason = str(error).strip().splitlines()[-1] or type(error).__name__
        raise UserError(f"{path} cannot be read as an OpenVINO file: {reason}") from error


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Replace the metadata of a file (``rt_info``, section model_info); its graph stays as it is."""
    _, model = _read(path)
    for key, text in to_text(metadata).items():
        model.set_rt_info(text, [_SECTION, key])
    _save(model, path)


class OpenVinoRunner:
    """A file that is ready to run.

    Attributes:
        metadata: what the file says about itself.
    """

    def __init__(self, path: Path) -> None:
        core, model = _read(path)
        info = model.get_rt_info([_SECTION]).value if model.has_rt_info([_SECTION]) else {}
        self.metadata = from_text({key: str(text) for key, text in info.items()})
        # without the first, CPUs that have bfloat16 compute in it
        how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self._model = core.compile_model(model, "CPU", how)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map uint8 (N, H, W, C) to probabilities float32 (N, K), or restored images, uint8 of the same shape."""
        # OpenVINO misreads the strides that numpy leaves to dimensions of size 1, such as a single channel
        return np.array(self._model(images.copy(order="C"))[0])
