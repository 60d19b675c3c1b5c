"""The exported graph computes what ``predict`` answers, with nothing outside of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import lit_cnn
from lit_cnn.checkpoint.record import read_record
from lit_cnn.export.graph import ExportGraph, geometry_of
from lit_cnn.tasks.tta import average_logits

PREPROCESSING = {"image_size": 4, "channels": 1, "mean": [0.25], "std": [0.5]}


@pytest.mark.parametrize("how", ["center_crop", "letterbox"])
def test_a_picture_of_any_size_gets_the_probabilities_of_predict(trained, how):
    model = lit_cnn.load(trained)
    record = read_record(trained / "checkpoints" / "best.ckpt")
    record.preprocessing["eval_resize"] = model._record.preprocessing["eval_resize"] = how
    graph = ExportGraph(model.task.backbone, record.preprocessing, "decoded", record.calibration["temperature"])
    pixels = np.random.default_rng(0).integers(0, 256, (90, 40, 1), dtype=np.uint8)
    with torch.inference_mode():
        found = graph(torch.from_numpy(pixels)[None])[0]
    expected = list(model.predict(pixels)[0].probabilities.values())
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_it_normalises_averages_over_copies_and_divides_by_the_temperature():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    image = torch.randint(0, 256, (2, 4, 4, 1), dtype=torch.uint8)
    found = ExportGraph(network, PREPROCESSING, "resized", 2.0, "flip_shift")(image)
    normalised = (image.permute(0, 3, 1, 2) / 255 - 0.25) / 0.5
    expected = (average_logits(network, normalised, "flip_shift") / 2).softmax(1)
    assert torch.allclose(found, expected, atol=1e-6)


def test_with_several_labels_each_has_a_probability_of_its_own():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    image = torch.randint(0, 256, (2, 4, 4, 1), dtype=torch.uint8)
    found = ExportGraph(network, {**PREPROCESSING, "multilabel": True}, "resized", 2.0)(image)
    normalised = (image.permute(0, 3, 1, 2) / 255 - 0.25) / 0.5
    assert torch.allclose(found, network(normalised).sigmoid(), atol=1e-6)


@pytest.mark.parametrize(("size", "share"), [(32, 1.0), (224, 0.875), ([96, 160], 0.875)])
def test_a_checkpoint_without_a_rule_for_resizing_is_prepared_as_by_predict(size, share):
    geometry = geometry_of({"image_size": size, "channels": 3})
    assert (geometry.eval_resize, geometry.eval_crop) == ("center_crop", share)
