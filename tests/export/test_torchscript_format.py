"""TorchScript files: any batch, any size, metadata."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.export import torchscript_format
from lit_cnn.export.graph import ExportGraph

PREPROCESSING = {"image_size": 8, "channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


@pytest.fixture(scope="module")
def graph() -> ExportGraph:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ExportGraph(network, PREPROCESSING, "resized", 1.5, "flip_shift").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def file(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("torchscript") / "net.torchscript"
    torchscript_format.write(graph, torch.zeros(2, 11, 13, 3, dtype=torch.uint8), {}, path)
    torchscript_format.write_metadata(path, {"producer": "lit-cnn 1.2", "names": {"0": "玫瑰"}, "mean": [0.5]})
    return path


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 11, 13), (5, 20, 9)])
def test_it_gives_the_graphs_answers_for_any_batch_and_size(file, graph, shape):
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    runner = torchscript_format.TorchScriptRunner(file)
    for _ in range(3):  # its optimizer looks at the first runs
        assert runner(images) == pytest.approx(graph(torch.from_numpy(images)).numpy(), abs=1e-6)


def test_metadata_comes_back(file):
    metadata = torchscript_format.TorchScriptRunner(file).metadata
    assert metadata == {"producer": "lit-cnn 1.2", "names": {"0": "玫瑰"}, "mean": [0.5]}


def test_what_is_no_archive_is_one_line(tmp_path):
    (tmp_path / "a.torchscript").write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"a.torchscript cannot be read as a TorchScript file"):
        torchscript_format.TorchScriptRunner(tmp_path / "a.torchscript")
