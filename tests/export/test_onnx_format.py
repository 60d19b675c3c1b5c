"""ONNX files: any batch, any size, metadata by onnxruntime's own reader."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.export import onnx_format
from lit_cnn.export.graph import ExportGraph

onnxruntime = pytest.importorskip("onnxruntime")
PREPROCESSING = {"image_size": 8, "channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


@pytest.fixture(scope="module")
def graph() -> ExportGraph:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ExportGraph(network, PREPROCESSING, "resized", 1.5).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def file(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    example = torch.zeros(2, 11, 13, 3, dtype=torch.uint8)
    onnx_format.write(graph, example, {0: "batch", 1: "height", 2: "width"}, path)
    return path


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 11, 13), (5, 20, 9)])
def test_it_gives_the_graphs_answers_for_any_batch_and_size(file, graph, shape):
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = onnx_format.OnnxRunner(file)(images)
    assert found.dtype == np.float32
    assert found == pytest.approx(graph(torch.from_numpy(images)).numpy(), abs=1e-6)


def test_metadata_can_be_read_by_any_program_and_written_again(file):
    metadata = {"producer": "lit-cnn 1.2", "description": "a net", "names": {"0": "玫瑰", "1": "a b"}, "mean": [0.5]}
    for mean in (0.1, 0.5):
        onnx_format.write_metadata(file, {**metadata, "mean": [mean]})
    assert onnx_format.OnnxRunner(file).metadata == metadata
    meta = onnxruntime.InferenceSession(str(file)).get_modelmeta()
    assert meta.custom_metadata_map["names"] == '{"0": "玫瑰", "1": "a b"}'
    assert (meta.producer_name, meta.description) == ("lit-cnn", "a net")


def test_what_is_no_onnx_file_is_one_line(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"a.onnx cannot be read as an ONNX file"):
        onnx_format.OnnxRunner(tmp_path / "a.onnx")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"need the onnxscript package: pip install 'lit-cnn\[export\]'"):
        onnx_format.require()
