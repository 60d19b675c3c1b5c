"""OpenVINO files: any batch, any size, float32 weights, metadata by OpenVINO's own reader."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.export import openvino_format
from lit_cnn.export.formats import FORMATS
from lit_cnn.export.graph import ExportGraph

openvino = pytest.importorskip("openvino")
PREPROCESSING = {"image_size": 8, "channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


@pytest.fixture(scope="module")
def graph() -> ExportGraph:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ExportGraph(network, PREPROCESSING, "resized", 1.5).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def file(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("openvino") / "net.xml"
    example = torch.zeros(2, 11, 13, 3, dtype=torch.uint8)
    openvino_format.write(graph, example, {0: "batch", 1: "height", 2: "width"}, path)
    return path


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 11, 13), (5, 20, 9)])
def test_it_gives_the_graphs_answers_for_any_batch_and_size(file, graph, shape):
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = openvino_format.OpenVinoRunner(file)(images)
    assert found.dtype == np.float32
    assert found == pytest.approx(graph(torch.from_numpy(images)).numpy(), abs=1e-6)


def test_images_of_one_channel_are_read_whatever_their_strides(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(108, 3))
    preprocessing = {"image_size": 8, "channels": 1, "mean": [0.5], "std": [0.1]}
    graph, path = ExportGraph(network, preprocessing, "resized", 1.0).eval().requires_grad_(False), tmp_path / "net.xml"
    openvino_format.write(graph, torch.zeros(2, 8, 8, 1, dtype=torch.uint8), {0: "batch"}, path)
    channels_first = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    images = np.stack(list(channels_first.transpose(0, 2, 3, 1)))
    expected = graph(torch.from_numpy(images.copy())).numpy()
    assert openvino_format.OpenVinoRunner(path)(images) == pytest.approx(expected, abs=1e-6)


def test_its_weights_are_kept_in_float32_in_a_file_beside_it(file):
    assert FORMATS["openvino"].files(file) == [file.with_suffix(".bin"), file]
    assert {path.name for path in file.parent.iterdir()} == {"net.xml", "net.bin"}
    assert 'element_type="f16"' not in file.read_text()


def test_metadata_can_be_read_by_any_program_and_written_again(file):
    metadata = {"producer": "lit-cnn 1.2", "description": "a net", "names": {"0": "玫瑰", "1": "a b"}, "mean": [0.5]}
    metadata |= {"mode": "", "run": {"config": {"<a>": [None, True, "x;y"]}}}
    for mean in (0.1, 0.5):
        openvino_format.write_metadata(file, {**metadata, "mean": [mean]})
    assert openvino_format.OpenVinoRunner(file).metadata == metadata
    model = openvino.Core().read_model(str(file))
    assert model.get_rt_info(["model_info", "names"]).astype(str) == '{"0": "玫瑰", "1": "a b"}'


def test_what_is_no_openvino_file_is_one_line(tmp_path, file):
    (tmp_path / "a.xml").write_text("<no graph>")
    (tmp_path / "b.xml").write_bytes(file.read_bytes())  # without its weights
    for name in ("a.xml", "b.xml"):
        with pytest.raises(UserError, match=rf"{name} cannot be read as an OpenVINO file: [^\n]+"):
            openvino_format.OpenVinoRunner(tmp_path / name)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"need the openvino package: pip install 'lit-cnn\[openvino\]'"):
        openvino_format.require()
