"""A format that keeps the graph in memory: what is tested with it needs no exporter, which takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lit_cnn.export.formats import Format
from lit_cnn.export.graph import ExportGraph
from lit_cnn.export.metadata import Metadata, from_text, to_text

_WRITTEN: dict[str, tuple[ExportGraph, dict[str, str]]] = {}


def graph_of(path: Path) -> ExportGraph:
    """The graph of a file."""
    return _WRITTEN[path.read_text()][0]


def write(graph: ExportGraph, example: Tensor | None, dynamic: dict[int, str], path: Path) -> None:
    path.write_text(str(len(_WRITTEN)))
    _WRITTEN[path.read_text()] = graph, {}


def write_metadata(path: Path, metadata: Metadata) -> None:
    _WRITTEN[path.read_text()][1].update(to_text(metadata))


class EagerRunner:
    def __init__(self, path: Path) -> None:
        self._graph, texts = _WRITTEN[path.read_text()]
        self.metadata = from_text(texts)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._graph(torch.from_numpy(images)).numpy()


EAGER = Format(".onnx", write, write_metadata, EagerRunner, lambda: None, "for tests")
