"""Files of image restorers: images of any size in, the pixels of ``predict`` out, and when their proof holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lit_cnn.export.formats import FORMATS
from lit_cnn.export.restoration import RestorationGraph, RestorationProof, RestoredByFile, restorer_graph
from lit_cnn.results.restoration import to_bytes
from lit_cnn.tasks.restoration import ImageRestorer

WIDTHS = {"widths": [4, 8]}
NETWORKS = {"unet": WIDTHS, "bilinear": {**WIDTHS, "upsampling": "bilinear"}, "aodnet": {}}


def graph_of(name: str) -> RestorationGraph:
    torch.manual_seed(0)
    task = ImageRestorer(backbone="unet" if name == "bilinear" else name, backbone_args=NETWORKS[name])
    for layer in task.backbone.modules():
        if isinstance(layer, nn.Conv2d):  # an untrained U-Net gives the image that it was given
            nn.init.normal_(layer.weight, std=0.1)
    return restorer_graph(task.eval())


@pytest.mark.parametrize("size", [(16, 24), (9, 21), (1, 1)])
def test_the_graph_gives_the_pixels_that_predict_writes(size):
    graph = graph_of("unet")
    pixels = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found = graph(pixels)
        expected = graph.network(pixels.permute(0, 3, 1, 2) / 255)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.permute(0, 3, 1, 2).numpy(), to_bytes(expected.numpy()))


def test_a_batch_of_a_run_reaches_the_file_as_the_pixels_it_was_read_from():
    given = torch.arange(256, dtype=torch.uint8).repeat(3, 1).reshape(1, 3, 16, 16)

    def runner(images: np.ndarray) -> np.ndarray:
        assert np.array_equal(images, given.permute(0, 2, 3, 1).numpy())
        return 255 - images

    assert torch.equal(RestoredByFile(runner)(given * (1 / 255)), (255 - given) / 255)


def test_a_proof_holds_unless_an_image_differs_and_says_by_how_much():
    proof = RestorationProof(3, "val", 1, 2e-5, 20.0, 20.0, [], {})
    assert proof.holds
    assert proof.sentence() == "3 validation images, largest difference of a pixel 1 of 255, 2.0e-05 of them differ"
    assert not proof._replace(different=["a.jpg"]).holds


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_restores_images_whose_size_is_no_multiple_of_what_the_network_halves(tmp_path, name):
    pytest.importorskip("onnxruntime")
    graph, path = graph_of(name), tmp_path / "net.onnx"
    example = torch.zeros(2, 37, 50, 3, dtype=torch.uint8)
    FORMATS["onnx"].write(graph, example, {0: "batch", 1: "height", 2: "width"}, path)
    runner = FORMATS["onnx"].open(path)
    for shape in ((1, 16, 24), (3, 17, 41), (1, 3, 2)):
        pixels = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8)
        with torch.inference_mode():
            expected = graph(pixels).numpy()
        found = runner(pixels.numpy())
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert (found != expected).mean() < 0.01
