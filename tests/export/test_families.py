"""Every family of networks can be exported, and answers the same for another batch."""

from __future__ import annotations

import pytest
import torch

from lit_cnn.export.formats import FORMATS
from lit_cnn.export.graph import ExportGraph
from tests.models.helpers import small

FAMILIES = (
    "lenet",
    "alexnet",
    "vgg11_bn",
    "nin",
    "googlenet",
    "resnet18",
    "densenet_small",
    "residual_cifar",
    "convnet",
)
FAMILIES += ("speednet",)


@pytest.mark.slow
@pytest.mark.parametrize("key", FAMILIES)
def test_a_network_gives_the_same_answers_from_a_file(tmp_path, key):
    pytest.importorskip("onnxruntime")
    network, images = small(key)
    channels, side = images.shape[1:3]
    preprocessing = {"image_size": side, "channels": channels, "mean": [0.5] * channels, "std": [0.25] * channels}
    graph = ExportGraph(network.eval(), preprocessing, "resized").eval().requires_grad_(False)
    pixels = torch.randint(0, 256, (3, side, side, channels), dtype=torch.uint8)
    path = tmp_path / "net.onnx"
    FORMATS["onnx"].write(graph, pixels[:2], {0: "batch"}, path)
    with torch.inference_mode():
        expected = graph(pixels).numpy()
    assert FORMATS["onnx"].open(path)(pixels.numpy()) == pytest.approx(expected, abs=1e-5)
