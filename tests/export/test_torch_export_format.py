"""Files of torch.export: any batch, any size, metadata, and no code that runs when they are loaded."""

from __future__ import annotations

import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.export import torch_export_format
from lit_cnn.export.graph import ExportGraph

PREPROCESSING = {"image_size": 8, "channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


@pytest.fixture(scope="module")
def graph() -> ExportGraph:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ExportGraph(network, PREPROCESSING, "resized", 1.5).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def file(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    example = torch.zeros(2, 11, 13, 3, dtype=torch.uint8)
    torch_export_format.write(graph, example, {0: "batch", 1: "height", 2: "width"}, path)
    torch_export_format.write_metadata(path, {"producer": "lit-cnn 1.2", "names": {"0": "玫瑰"}, "mean": [0.5]})
    return path


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 11, 13), (5, 20, 9)])
def test_it_gives_the_graphs_answers_for_any_batch_and_size(file, graph, shape):
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = torch_export_format.TorchExportRunner(file)(images)
    assert np.array_equal(found, graph(torch.from_numpy(images)).numpy())


def test_metadata_comes_back_and_can_be_read_without_torch(file):
    assert torch_export_format.TorchExportRunner(file).metadata["names"] == {"0": "玫瑰"}
    with zipfile.ZipFile(file) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("metadata.json"))
        assert json.loads(archive.read(name))["mean"] == "[0.5]"


RAN: list[str] = []


class Bomb:
    def __reduce__(self):
        return RAN.append, ("code of the file",)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("data/sample_inputs/model.pt", pickle.dumps(Bomb())),
        ("data/constants/custom_obj_0", pickle.dumps(Bomb())),
        ("models/model.json", b'{"a": [{"expr_str": "RAN.append(1)"}]}'),
        ("models/model.json", b'{"a": [{"expr_str": "__import__"}]}'),
        ("data/weights/model_weights_config.json", b'{"config": {"w": {"use_pickle": true}}}'),
    ],
    ids=["inputs", "object", "call", "name", "weights"],
)
def test_a_file_that_would_run_code_is_refused_before_it_does(file, tmp_path, part, content):
    changed = tmp_path / "net.pt2"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            if name.partition("/")[2] != part:
                target.writestr(name, source.read(name))
        target.writestr(f"net/{part}", content)
    with pytest.raises(UserError, match=r"would run code|cannot be read"):
        torch_export_format.TorchExportRunner(changed)
    assert RAN == []


def test_what_is_no_archive_is_one_line(tmp_path):
    (tmp_path / "a.pt2").write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"a.pt2 cannot be read as a file of torch.export"):
        torch_export_format.TorchExportRunner(tmp_path / "a.pt2")
