"""ONNX: written by torch's dynamo exporter, run by onnxruntime."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.export.graph import ImageGraph
from lit_cnn.export.metadata import Metadata, from_text, to_text
from lit_cnn.export.packages import export_package

SUFFIX = ".onnx"
INPUT = "image"
_WRITING = "onnx", "onnxscript"  # packages that torch's exporter needs


def _package(name: str) -> ModuleType:
    return export_package(name, "ONNX", "export")


def require() -> None:
    """Check that the packages are there.

    Raises:
        UserError: one is missing.
    """
    for name in (*_WRITING, "onnxruntime"):
        _package(name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what exporters tell about their own passes off the terminal."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def write(graph: ImageGraph, example: Tensor, dynamic: dict[int, str], path: Path) -> None:
    """Write a graph.

    Args:
        graph: in evaluation mode.
        example: uint8 (N, H, W, C) with N of 2 or more.
        dynamic: names of the dimensions that may have any size.
        path: the file.

    Raises:
        Exception: whatever torch's exporter raises for a network that it cannot export.
    """
    for name in _WRITING:
        _package(name)
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            verbose=False,
            dynamic_shapes=(dynamic,),
            input_names=[INPUT],
            output_names=[graph.output],
        )
        assert program is not None
        program.save(str(path), external_data=False)


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Replace the metadata of a file (``metadata_props``); its graph stays as it is."""
    onnx = _package("onnx")
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, to_text(metadata))
    model.producer_name, _, model.producer_version = metadata["producer"].partition(" ")
    model.doc_string = metadata["description"]
    onnx.save(model, str(path))


class OnnxRunner:
    """A file that is ready to run.

    Attributes:
        metadata: what the file says about itself.
    """

    def __init__(self, path: Path) -> None:
        runtime = _package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own, which share no base
            raise UserError(f"{path} cannot be read as an ONNX file: {str(error).splitlines()[0]}") from error
        self.metadata = from_text(dict(self._session.get_modelmeta().custom_metadata_map))
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map uint8 (N, H, W, C) to probabilities float32 (N, K), or restored images, uint8 of the same shape."""
        return np.asarray(self._session.run(None, {self._input: images})[0])
